"""From the raw rows of an input to the rows that land: types, ``prepare``, times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import pyarrow as pa

from featurestore.errors import FeatureStoreError, IngestionError
from featurestore.ingestion.casts import cast_text, cast_typed
from featurestore.ingestion.readers.chunks import Chunk
from featurestore.ingestion.schema import Columns, ColumnType, Stage, WidenedError, landing_type
from featurestore.ingestion.text_types import TextColumn
from featurestore.ingestion.timestamps import TimeReader
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE

if TYPE_CHECKING:
    from featurestore.registry.definitions import EventSource

_OURS = (EVENT_TIME, ARRIVAL_TIME, SEQUENCE, BATCH)


class Shaped(NamedTuple):
    """The rows of a chunk in the types that land, and which of them have no usable time, with the reason."""

    frame: pl.DataFrame
    invalid: dict[int, str]


class Shaper:
    """Shapes the chunks of one input, one after the other.

    Args:
        source: whose rows they are.
        raw: what is known of the raw columns.
        landed: what is known of the columns that land, where ``prepare`` makes others of the raw ones.
        times: reads the time columns.
        file: how errors call the input.
        from_json: whether texts may stand for instants, dates and decimals.
        typed: whether the input has types of its own (tables), which ``prepare`` gets to see as they are.
    """

    def __init__(
        self,
        source: EventSource,
        raw: Columns,
        landed: Columns | None,
        times: TimeReader,
        file: str,
        *,
        from_json: bool,
        typed: bool,
    ) -> None:
        self.source = source
        self.raw = Columns(dict(raw.known), raw.open)
        self._landed = None if landed is None else Columns(dict(landed.known), landed.open)
        self._times = times
        self._file = file
        self._from_json = from_json
        self._as_landed = landed is None or not typed
        self._first = True

    @property
    def landed(self) -> Columns:
        """The columns that land, as far as they are known."""
        return self.raw if self._landed is None else self._landed

    def raw_type(self, name: str) -> pa.DataType | None:
        """The type of a raw column, as far as it is known."""
        column = self.raw.known.get(name)
        return None if column is None else column.type

    def shape(self, chunk: Chunk) -> Shaped:
        """The rows of a chunk as they land, unless ``invalid`` names them.

        Raises:
            IngestionError: a value does not fit its column's type; names file, row and column.
            WidenedError: it does not fit what the beginning of the input suggested.
        """
        frame = self.prepared(chunk)
        shaped = self._with_times(frame if self._landed is None else self._typed(frame, chunk, self._landed, "landed"), chunk)
        self._first = False
        return shaped

    def prepared(self, chunk: Chunk) -> pl.DataFrame:
        """The raw rows in the types of their columns, after ``prepare``."""
        frame = self._typed(chunk.frame, chunk, self.raw, "raw")
        if self.source.prepare is None:
            return frame
        try:
            made = self.source.prepare(frame.lazy())
            result = made.collect() if isinstance(made, pl.LazyFrame) else made
        except FeatureStoreError:
            raise
        except Exception as error:
            raise IngestionError(f"prepare of source {self.source.name!r} failed: {error}", file=self._file) from error
        if not isinstance(result, pl.DataFrame):
            raise IngestionError(
                f"prepare of source {self.source.name!r} returned {type(result).__name__}", hint="return the lazy frame"
            )
        if result.height != frame.height:
            raise IngestionError(
                f"prepare of source {self.source.name!r} made {result.height} rows of {frame.height}",
                file=self._file,
                hint="it may derive, rename and drop columns; rows are filtered by views, or quarantined by expectations",
            )
        return result

    def chunks_for_landing(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Chunks of prepared rows, for inference."""
        for chunk in chunks:
            yield replace(chunk, frame=self.prepared(chunk), literal=frozenset(), mixed={})

    # -- types -----------------------------------------------------------------------------------------------------------

    def _typed(self, frame: pl.DataFrame, chunk: Chunk, columns: Columns, stage: Stage) -> pl.DataFrame:
        literal = chunk.literal if stage == "raw" else frozenset[str]()
        made: dict[str, pl.Series] = {}
        for values in frame:
            name = values.name
            if name in _OURS:
                raise IngestionError("this name is featurestore's own", file=self._file, column=name, hint="rename the column")
            if name in columns.open:
                made[name] = values
                continue
            column = columns.known.get(name)
            if stage == "raw" and name in chunk.mixed and (column is None or not column.as_text):
                self._misfit(values, chunk.mixed[name], column, chunk, stage)
            if column is None:
                if _is_empty(values, literal=name in literal):
                    made[name] = values
                    continue
                if not self._first:
                    raise WidenedError(stage)
                column = columns.known[name] = ColumnType(self._guess(values, stage, literal=name in literal), fixed=False)
            is_text = name in literal
            cast = (
                cast_text(values, column.type, self._times)
                if is_text
                else cast_typed(values, column.type, self._times, from_json=self._from_json and stage == "raw")
            )
            if cast.misfit is not None:
                self._misfit(values, cast.misfit, column, chunk, stage)
            made[name] = cast.values
        return self._complete(made, frame.height, columns)

    def _complete(self, made: dict[str, pl.Series], height: int, columns: Columns) -> pl.DataFrame:
        """Columns in the order of the input; null where it lacks one that is known."""
        order = [*made, *(name for name in columns.known if name not in made)]
        empty = pl.Schema(pa.schema([(name, columns.known[name].type) for name in columns.known if name not in made]))
        series = [
            made[name] if name in made else pl.Series(name, [None], empty[name]).new_from_index(0, height) for name in order
        ]
        return pl.DataFrame(series) if series else pl.DataFrame(height=height)

    def _guess(self, values: pl.Series, stage: Stage, *, literal: bool) -> pa.DataType:
        if literal:
            column = TextColumn()
            column.observe(values)
            return column.type
        if stage == "raw" and not self._as_landed:
            return values.head(0).to_arrow().type
        return landing_type(values, self._file)

    def _misfit(self, values: pl.Series, row: int, column: ColumnType | None, chunk: Chunk, stage: Stage) -> None:
        if column is None or not column.fixed:
            raise WidenedError(stage)
        line = chunk.locate([row])[0].line
        raise IngestionError(
            f"{values[row]!r} does not fit the type {column.type}",
            file=self._file,
            row=line,
            column=values.name,
            hint="the type was declared, or frozen at the first load; mend the data, ingest it under another column name, "
            "or quarantine it as text",
        )

    # -- times -----------------------------------------------------------------------------------------------------------

    def _with_times(self, frame: pl.DataFrame, chunk: Chunk) -> Shaped:
        invalid: dict[int, str] = {}
        instants = []
        for name in dict.fromkeys(n for n in (self.source.event_time, self.source.arrival_time) if n):
            if name not in frame.columns and (not frame.height or self.source.invalid_event_time == "quarantine"):
                frame = frame.with_columns(pl.lit(None, pl.String).alias(name))
            if name not in frame.columns:
                raise IngestionError(
                    "there is no such column",
                    file=self._file,
                    column=name,
                    hint=f"source {self.source.name!r} declares it as a time; there is: {', '.join(frame.columns)}",
                )
            try:
                times = self._times.read(frame[name])
            except IngestionError as error:
                raise IngestionError(error.message, file=self._file, row=None, column=name, hint=error.hint) from None
            instants.append(times.instants)
            for row, reason in times.reasons.items():
                invalid.setdefault(row, f"{name}: {reason}")
        if invalid and self.source.invalid_event_time == "reject":
            row = min(invalid)
            column, _, reason = invalid[row].partition(": ")
            raise IngestionError(
                reason,
                file=self._file,
                row=chunk.locate([row])[0].line,
                column=column,
                hint='invalid_event_time="quarantine" on the source lets the other rows land',
            )
        return Shaped(frame.with_columns(instants), invalid)


def _is_empty(values: pl.Series, *, literal: bool) -> bool:
    return values.dtype == pl.Null or (literal and values.null_count() == len(values))
