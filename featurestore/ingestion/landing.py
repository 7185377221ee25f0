"""One batch into the lake: all of its rows that are good in one atomic commit, exactly once.

The order of commits makes crashes harmless. Rows to put aside are committed to the quarantine first, under the batch's name and
the number of the attempt; then all other rows are committed to the events table under the batch's name, which settles it. A
retry finds the lines that an earlier attempt put aside and leaves them there, whatever today's definition says of them, so that
each row is in exactly one of the tables. The schema is frozen just before the first of the two commits, after every check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow as pa

from featurestore.errors import ConflictError, DataTypeError, DefinitionError, IngestionError, ValidationError
from featurestore.ingestion import quarantine
from featurestore.ingestion.batches import Batch, Landed, Progress, Target
from featurestore.ingestion.casts import cast_typed, in_plain_layout
from featurestore.ingestion.options import read_options
from featurestore.ingestion.quarantine import QuarantinedRow, Spool
from featurestore.ingestion.readers.blocks import worth_compiling
from featurestore.ingestion.readers.chunks import Chunk
from featurestore.ingestion.readers.combined import TIME_FORMAT
from featurestore.ingestion.readers.tables import rows_to_json
from featurestore.ingestion.report import BatchReport
from featurestore.ingestion.schema import Columns, WidenedError, infer_columns, known_columns, write_raw_state
from featurestore.ingestion.shaping import Shaper
from featurestore.ingestion.timestamps import ARROW_INSTANT, TimeReader
from featurestore.registry.types import to_arrow
from featurestore.time import ARRIVAL_TIME, BATCH, SEQUENCE, to_micros
from featurestore.validation.batches import EXPECTATION, REASON, BatchEvaluation
from featurestore.validation.types import check_expectations

if TYPE_CHECKING:
    from featurestore.registry.records import Expectation
    from featurestore.validation.results import ValidationReport

PLACE: Final = "__place"
_CANDIDATES: Final = (pl.String(), pl.Int64(), pl.Datetime("us", "UTC"), pl.Boolean(), pl.List(pl.Int64()))


class RetryError(Exception):
    """Another process was first: look again."""


class _NothingLandedError(Exception):
    """Every row was put aside: there is nothing to commit."""


def land(target: Target, batch: Batch, progress: Progress | None = None) -> Landed:
    """Land a batch, unless it is in the lake already.

    Raises:
        IngestionError: a value cannot land; nothing did.
        ValidationError: an expectation of policy ``reject`` failed; nothing landed.
    """
    raw: Columns | None = None
    landed: Columns | None = None
    while True:
        if (held := _held(target, batch)) is not None:
            return Landed(BatchReport(batch.name, batch.id, held, duplicates=held, version=target.events.version()))
        attempt = _Attempt(target, batch, progress, raw, landed)
        try:
            return attempt.run()
        except RetryError:
            raw = landed = None
        except WidenedError as widened:
            raw, landed = attempt.infer(widened)


def _held(target: Target, batch: Batch) -> int | None:
    """How many rows of a batch the lake holds; None where the batch is not settled."""
    settled = all(target.events.has_transaction(app, version) for app, version in batch.transactions.items())
    if not settled and not target.quarantine.has_transaction(_nothing_landed(batch), 1):
        return None
    tables = [table for table in (target.events, target.quarantine) if table.exists()]
    mine = pl.col(BATCH) == batch.id
    return sum(int(table.scan().filter(mine).select(pl.len()).collect(engine="streaming").item()) for table in tables)


def _nothing_landed(batch: Batch) -> str:
    return f"empty:{batch.id}"


@dataclass
class _Counts:
    read: int = 0
    landed: int = 0
    quarantined: int = 0


@dataclass
class _Attempt:
    """One attempt to land a batch with what is known of its columns."""

    target: Target
    batch: Batch
    progress: Progress | None
    raw: Columns | None
    landed: Columns | None
    counts: _Counts = field(default_factory=_Counts)
    evaluation: BatchEvaluation | None = None
    validation: ValidationReport | None = None
    froze: bool = False

    def __post_init__(self) -> None:
        self.source = self.target.source
        self.options = read_options(self.source)
        self.types = {name: to_arrow(kind) for name, kind in self.options.types.items()}
        self.frozen = self.target.catalog.source_schema(self.source.name)
        raw, landed = known_columns(self.source, self.target.catalog, self.types)
        self.raw = self.raw or raw
        self.landed = self.landed or landed
        self.arrival = self.target.clock.now()
        self.shaper = self._shaper(self.raw, self.landed)
        self.evaluated: pl.Schema | None = None
        self.columns: list[str] = []
        self.seen: list[str] = []
        app = f"quarantine:{self.batch.id}"
        table = self.target.quarantine
        self.number = (table.transaction_version(app) or 0) + 1
        self.settled: frozenset[int] = frozenset()
        if self.number > 1:
            self.settled = quarantine.settled_lines(table, self.target.events, self.batch.id, self.batch.name)
        self.app = app

    def _shaper(self, raw: Columns, landed: Columns | None) -> Shaper:
        return Shaper(
            self.source,
            raw,
            landed,
            TimeReader(
                self.source.timezone,
                self.options,
                TIME_FORMAT if self.batch.format == "combined" else None,
                compiled=self.batch.format in ("csv", "jsonl") and worth_compiling(self.batch.size or 0),
            ),
            self.batch.name,
            from_json=self.batch.from_json,
            typed=self.batch.typed,
        )

    def infer(self, widened: WidenedError) -> tuple[Columns, Columns | None]:
        """The columns that a pass over the whole batch finds."""
        assert self.raw is not None  # noqa: S101 - set at the start
        raw, landed = self.raw, self.landed
        if widened.stage == "raw":
            as_landed = landed is None or not self.batch.typed
            return infer_columns(self.batch.read, raw, self.batch.name, as_landed=as_landed), landed
        assert landed is not None  # noqa: S101 - there is a stage after the raw one
        # Guesses for raw columns held so far; what the whole batch says of them is needed first.
        raw = infer_columns(self.batch.read, raw, self.batch.name, as_landed=not self.batch.typed)
        shaper = self._shaper(raw, landed)
        read = self.batch.read
        found = infer_columns(lambda _: shaper.chunks_for_landing(read(raw.as_text)), landed, self.batch.name, as_landed=True)
        return raw, found

    def run(self) -> Landed:
        """Land the batch.

        Raises:
            WidenedError: the beginning of the batch misled.
            RetryError: another process landed rows of the batch meanwhile.
        """
        assert self.raw is not None  # noqa: S101 - set at the start
        sequence = self.target.next_sequence()
        try:
            with Spool(self.batch.name, self.batch.id, self.batch.format, self.arrival) as spool:
                rows = self._rows(self.batch.read(self.raw.as_text, self.shaper.raw_type), spool, sequence)
                first = next(rows, None)
                version = self._commit(rows, first)
        finally:
            if self.evaluation is not None:
                self.evaluation.close()
        known = [*self.shaper.landed.known, *self.shaper.landed.open]
        missing = tuple(name for name in known if self.counts.read and name not in self.seen)
        counts = self.counts
        report = BatchReport(
            self.batch.name, self.batch.id, counts.read, counts.landed, counts.quarantined, 0, version, missing
        )
        return Landed(report, self.validation, self.froze)

    def _commit(self, rows: Iterator[pl.DataFrame], first: pl.DataFrame | None) -> int | None:
        """All rows in one commit of the events table."""
        if first is None:
            return self.target.events.version()
        failures: list[Exception] = []
        template = first.head(0).to_arrow()
        batches = _arrow_batches(chain([first], rows), template.schema, failures)
        try:
            commit = self.target.events.append(
                pa.RecordBatchReader.from_batches(template.schema, batches),
                transactions=self.batch.transactions,
                metadata={"batch": self.batch.id, "input": self.batch.name},
                sort_by=[self.source.event_time],
            )
        except Exception:
            if failures and isinstance(failures[0], _NothingLandedError):
                return self.target.events.version()
            if failures:
                raise failures[0] from None
            raise
        if not commit.committed:
            raise RetryError
        return commit.version

    # -- rows ------------------------------------------------------------------------------------------------------------

    def _rows(self, chunks: Iterator[Chunk], spool: Spool, sequence: int) -> Iterator[pl.DataFrame]:
        """The rows that land, stamped; when they are through, all checks are done and the others put aside."""
        number = 1
        for chunk in chunks:
            self.counts.read += chunk.frame.height + len(chunk.malformed)
            good = self._chunk(chunk, spool)
            self.counts.landed += good.height
            yield self._stamped(good, chunk, sequence, number)
            number += chunk.frame.height
            if self.progress is not None:
                self.progress(f"ingest {self.batch.name}", chunk.position, self.batch.size)
        self._conclude(spool)

    def _chunk(self, chunk: Chunk, spool: Spool) -> pl.DataFrame:
        self.seen += [name for name in chunk.frame.columns if name not in self.seen] if self.source.prepare is None else []
        frame, invalid = self.shaper.shape(chunk)
        if self.source.prepare is not None:
            self.seen = frame.columns
        frame = frame.with_row_index(PLACE)
        reasons = pl.DataFrame(
            {PLACE: list(invalid), REASON: list(invalid.values()), EXPECTATION: [None] * len(invalid)},
            schema={PLACE: pl.UInt32, REASON: pl.String, EXPECTATION: pl.String},
        )
        bad = (
            frame.join(reasons, on=PLACE, maintain_order="left")
            if invalid
            else frame.head(0).with_columns(pl.lit(None, pl.String).alias(REASON), pl.lit(None, pl.String).alias(EXPECTATION))
        )
        good = frame.join(reasons, on=PLACE, how="anti", maintain_order="left") if invalid else frame
        good, failing = self._judged(good)
        bad = pl.concat([bad, failing], how="diagonal_relaxed") if failing.height else bad
        if self.settled:
            lines = {row: place.line for row, place in enumerate(chunk.locate(range(chunk.frame.height)))}
            held = pl.Series([row for row, line in lines.items() if line in self.settled], dtype=pl.UInt32)
            self.counts.quarantined += len(held)
            good, bad = (part.filter(~pl.col(PLACE).is_in(held.implode())) for part in (good, bad))
        self._put_aside(chunk, bad, spool)
        return good

    def _judged(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        if not self.source.expectations:
            return frame, frame.head(0)
        asked = frame.drop(PLACE)
        empty = self._empty_columns(asked)
        asked = asked.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in empty.items())
        if self.evaluation is None or self.evaluated is None:
            self.evaluated = asked.schema
            self.evaluation = BatchEvaluation(self.source.expectations, self.evaluated)
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in self.evaluated.items() if name not in asked.columns]
        good, bad = self.evaluation.update(asked.with_columns(absent).select(*self.evaluated, frame[PLACE]))
        good = good if not bad.height else frame.filter(pl.col(PLACE).is_in(good[PLACE].implode()))
        return (frame if not bad.height else good), bad

    def _empty_columns(self, frame: pl.DataFrame) -> dict[str, pl.DataType]:
        """Columns that have no value and no type yet, in a type that the expectations about them can judge."""
        known = {*self.shaper.landed.known, *self.shaper.landed.open}
        found: dict[str, pl.DataType] = {}
        for name in frame.columns:
            if name in known:
                continue
            if self.evaluated is not None and name in self.evaluated:
                found[name] = self.evaluated[name]
                continue
            about = [e for e in self.source.expectations if name in e.arguments.values()]
            found[name] = next((d for d in _CANDIDATES if _judges(about, frame.schema, name, d)), _CANDIDATES[0])
        return found

    def _put_aside(self, chunk: Chunk, bad: pl.DataFrame, spool: Spool) -> None:
        rows = [
            QuarantinedRow(raw, line, reason, header=chunk.header)
            for line, raw, reason in chunk.malformed
            if line not in self.settled
        ]
        self.counts.quarantined += len(chunk.malformed)
        if bad.height:
            places = chunk.locate(bad[PLACE].to_list())
            parsed = rows_to_json(_plain(bad.drop(PLACE, REASON, EXPECTATION)))
            rows += [
                QuarantinedRow(place.raw, place.line, reason, expectation, row, chunk.header)
                for place, reason, expectation, row in zip(places, bad[REASON], bad[EXPECTATION], parsed, strict=True)
            ]
            self.counts.quarantined += bad.height
        spool.put(rows)

    def _stamped(self, good: pl.DataFrame, chunk: Chunk, sequence: int, number: int) -> pl.DataFrame:
        """The rows with the hidden columns; columns without type or value are left out."""
        if not self.columns:
            known = {*self.shaper.landed.known, *self.shaper.landed.open}
            self.columns = [name for name in good.columns if name in known]
        arrival = pl.lit(to_micros(self.arrival)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        # Of one category: as text the same 64 bytes would be carried and sorted for each row.
        identity = pl.lit(self.batch.id, dtype=pl.Enum([self.batch.id]))
        if self.batch.row_ids is not None:
            identity = pl.lit(pl.Series(self.batch.row_ids(chunk), dtype=pl.String).gather(good[PLACE]))
        order = pl.col(PLACE).cast(pl.Int64) + (number + sequence)
        if self.source.sequence is not None:
            order = pl.lit(self._own_sequence(good, chunk))
        return good.select(
            *self.columns,
            (pl.col(self.source.arrival_time) if self.source.arrival_time else arrival).alias(ARRIVAL_TIME),
            order.alias(SEQUENCE),
            identity.alias(BATCH),
        )

    def _own_sequence(self, good: pl.DataFrame, chunk: Chunk) -> pl.Series:
        """The source's own sequence, which must be whole numbers without gaps of null."""
        name = self.source.sequence or ""
        if name not in good.columns:
            if not good.height:
                return pl.Series(name, [], pl.Int64)
            raise IngestionError("there is no such column", file=self.batch.name, column=name, hint="sequence= names it")
        values = good[name]
        cast = cast_typed(values, pa.int64(), TimeReader(self.source.timezone, self.options))
        missing = values.is_null()
        misfit = int(missing.arg_max() or 0) if missing.any() else cast.misfit
        if misfit is not None:
            raise IngestionError(
                f"{values[misfit]!r} is no sequence number",
                file=self.batch.name,
                row=chunk.locate([int(good[PLACE][misfit])])[0].line,
                column=name,
                hint="sequence= names a column of 64-bit integers, such as a log offset; without it rows keep their order",
            )
        return cast.values

    # -- the end ---------------------------------------------------------------------------------------------------------

    def _conclude(self, spool: Spool) -> None:
        """All rows are through: verdicts, then the schema, then the rows that were put aside."""
        if self.evaluation is not None:
            self.validation = self.evaluation.finish()
            if self.validation.rejected:
                names = ", ".join(dict.fromkeys(result.expectation.type for result in self.validation.rejected))
                raise ValidationError(
                    f"source {self.source.name!r}: {self.batch.name} is refused, for it fails {names}",
                    result=self.validation.to_json_dict(),
                    hint="nothing of it landed; mend the data, or change the policy to quarantine or warn",
                )
        if self.counts.landed:
            self._freeze()
        if self.batch.keep_aside is not None:
            self.batch.keep_aside(spool)
        elif spool.count:
            # Where no row lands there is no commit of the events table: then this one settles the batch.
            settles = {} if self.counts.landed else {_nothing_landed(self.batch): 1}
            if not quarantine.write(self.target.quarantine, spool.batches(), {self.app: self.number} | settles):
                raise RetryError
        if self.counts.read and not self.counts.landed:
            raise _NothingLandedError

    def _freeze(self) -> None:
        landed = self.shaper.landed
        catalog, name = self.target.catalog, self.source.name
        types = {column: known.type for column, known in landed.known.items()} | dict.fromkeys(landed.open, ARROW_INSTANT)
        schema = pa.schema([(column, types[column]) for column in self.columns])
        texts = landed.as_text | self.shaper.raw.as_text
        try:
            write_raw_state(catalog, name, ((n, c.type) for n, c in self.shaper.raw.known.items()), texts)
            now = catalog.freeze_source_schema(name, schema)
        except (ConflictError, DataTypeError) as error:
            if catalog.source_schema(name) != self.frozen or isinstance(error, ConflictError):
                raise RetryError from None
            raise IngestionError(error.message, file=self.batch.name, hint=error.hint) from error
        self.froze = now != self.frozen


def _judges(expectations: Sequence[Expectation], schema: pl.Schema, name: str, dtype: pl.DataType) -> bool:
    try:
        check_expectations(expectations, pl.Schema({**schema, name: dtype}))
    except DefinitionError:
        return False
    return True


def _arrow_batches(frames: Iterable[pl.DataFrame], schema: pa.Schema, failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Frames as record batches; what goes wrong is kept, for the way through Arrow's C interface keeps only its text."""
    try:
        for frame in frames:
            if frame.height:
                yield from frame.to_arrow().cast(schema).to_batches()
    except Exception as error:
        failures.append(error)
        raise


def _plain(frame: pl.DataFrame) -> pa.Table:
    return in_plain_layout(frame.select(pl.exclude(pl.Null)).to_arrow())
