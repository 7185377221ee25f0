"""What became of a materialization, a push, an erasure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from featurestore.ingestion.report import IngestReport


@dataclass(frozen=True, slots=True)
class ViewReport:
    """What became of one view.

    Args:
        view, version: its name, and the digest of its definition.
        read: what was read: ``nothing`` was new, the rows ``added`` since the last time, or ``all`` of them.
        rows: rows of the view that were looked at, without those whose event time has not come yet.
        keys: rows that were sent to the online store, one a key (and a feature, for ``last_non_null``).
        written: how many of these moved the store forward.
        quarantined: rows that failed an expectation of policy ``quarantine``.
        source_version: the version of the source's table that the view now stands for.
        validation: Great Expectations' result JSON, where the view has expectations.
        seconds: how long it took, whatever the project's clock says.
    """

    view: str
    version: str
    read: Literal["nothing", "added", "all"]
    rows: int = 0
    keys: int = 0
    written: int = 0
    quarantined: int = 0
    source_version: int | None = None
    validation: dict[str, Any] | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MaterializeReport:
    """What became of a materialization, view by view."""

    views: tuple[ViewReport, ...]

    @property
    def written(self) -> int:
        """Rows by which the online store moved forward."""
        return sum(view.written for view in self.views)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {"written": self.written, "views": [asdict(view) for view in self.views]}

    def __str__(self) -> str:
        lines = []
        for view in self.views:
            what = {"nothing": "nothing new", "added": f"{view.rows:,} new rows", "all": f"{view.rows:,} rows"}[view.read]
            more = f", {view.quarantined:,} quarantined" if view.quarantined else ""
            lines.append(f"{view.view}: {what}{more}, {view.written:,} of {view.keys:,} keys moved ({view.seconds:.1f} s)")
        return "\n".join(lines) or "no views to materialize"


@dataclass(frozen=True, slots=True)
class PushReport:
    """What became of pushed rows: in the lake, and by view in the online store."""

    ingest: IngestReport
    views: dict[str, int] = field(default_factory=dict)
    """Rows by which each view moved forward."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {"ingest": self.ingest.to_dict(), "views": dict(self.views)}

    def __str__(self) -> str:
        lines = [str(self.ingest), *(f"  {view}: {rows:,} keys moved online" for view, rows in self.views.items())]
        return "\n".join(lines)
