"""What became of an ingestion, in numbers that add up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from featurestore.registry.types import from_arrow

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of one input.

    Args:
        name: its path, URL, or ``frame``.
        digest: the batch's id: the BLAKE3 of its content, or the idempotency key.
        read: rows and malformed lines.
        landed: rows in the events table.
        quarantined: rows and lines in the quarantine table.
        duplicates: rows that an earlier ingestion of the same batch had put into either table.
        version: of the events table that holds it; None where no row landed and no table exists.
        missing: columns of the source that this input lacks; they are null in its rows.
    """

    name: str
    digest: str
    read: int = 0
    landed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    version: int | None = None
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"  {self.name}: {self.landed:,} landed, {self.quarantined:,} quarantined, {self.duplicates:,} duplicates"
        return text + (f"; without {', '.join(self.missing)}" if self.missing else "")

    def __post_init__(self) -> None:
        if self.read != self.landed + self.quarantined + self.duplicates:
            raise AssertionError(
                f"{self.name}: read {self.read}, but landed {self.landed}, quarantined {self.quarantined}, "
                f"duplicates {self.duplicates}"
            )


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of an ingestion; ``read == landed + quarantined + duplicates``, for each batch and in sum.

    Args:
        source: its name.
        batches: one for each input, in order.
        schema: the columns of the source now.
        schema_frozen: whether this ingestion froze the schema, or widened it.
        validation: Great Expectations' result JSON by batch digest.
        run_id: the run in the catalog.
        seconds: how long it took, whatever the project's clock says.
    """

    source: str
    batches: tuple[BatchReport, ...]
    schema: pa.Schema
    schema_frozen: bool
    validation: dict[str, Any] = field(default_factory=dict)
    run_id: str = ""
    seconds: float = 0.0

    @property
    def read(self) -> int:
        """Rows and malformed lines of all inputs."""
        return sum(batch.read for batch in self.batches)

    @property
    def landed(self) -> int:
        """Rows that are in the events table now and were not before."""
        return sum(batch.landed for batch in self.batches)

    @property
    def quarantined(self) -> int:
        """Rows and lines in the quarantine table."""
        return sum(batch.quarantined for batch in self.batches)

    @property
    def duplicates(self) -> int:
        """Rows that had been ingested before."""
        return sum(batch.duplicates for batch in self.batches)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "source": self.source,
            "read": self.read,
            "landed": self.landed,
            "quarantined": self.quarantined,
            "duplicates": self.duplicates,
            "batches": [asdict(batch) | {"missing": list(batch.missing)} for batch in self.batches],
            "schema": {f.name: repr(from_arrow(f.type)) for f in self.schema},
            "schema_frozen": self.schema_frozen,
            "validation": self.validation,
            "run_id": self.run_id,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        inputs = "1 input" if len(self.batches) == 1 else f"{len(self.batches)} inputs"
        lines = [
            f"{self.source}: {self.read:,} read = {self.landed:,} landed + {self.quarantined:,} quarantined"
            f" + {self.duplicates:,} duplicates ({inputs}, {self.seconds:.1f} s)"
        ]
        lines += [str(batch) for batch in self.batches]
        if self.schema_frozen:
            lines.append("  schema frozen:")
            lines += [f"    {f.name}: {from_arrow(f.type)!r}" for f in self.schema]
        for digest, result in self.validation.items():
            failed = [r["expectation_config"]["type"] for r in result["results"] if not r["success"]]
            if failed:
                lines.append(f"  batch {digest[:12]} fails {', '.join(failed)}")
        return "\n".join(lines)
