"""The answer to an online request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import from_micros

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Status: TypeAlias = Literal["PRESENT", "NULL", "NOT_FOUND", "EXPIRED", "SAWTOOTH"]
PRESENT: Final = "PRESENT"
NULL: Final = "NULL"
NOT_FOUND: Final = "NOT_FOUND"
EXPIRED: Final = "EXPIRED"
SAWTOOTH: Final = "SAWTOOTH"


class Column(NamedTuple):
    """One feature of an answer, by entity. (A tuple: an answer makes one for each feature, and these are made quickest.)

    Args:
        values: None where the status is neither ``PRESENT`` nor ``SAWTOOTH``.
        times: event time in microseconds of the row that answered or expired; None where there is none.
    """

    field: Field
    values: Sequence[Any]
    statuses: Sequence[Status]
    times: Sequence[int | None]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerForm:
    """The names and types of an answer. One for all answers of a plan, so that a writer of answers can be kept by it."""

    fields: tuple[tuple[str, Field], ...]


class OnlineResponse:
    """Features by name, each a list in the order of the entities asked for.

    Args:
        form: of the plan that it answers.
    """

    def __init__(self, columns: Mapping[str, Column], form: AnswerForm | None = None) -> None:
        self.columns = columns
        self._form = form

    @property
    def form(self) -> AnswerForm:
        """Its names and types."""
        if self._form is None:
            self._form = AnswerForm(tuple((name, column.field) for name, column in self.columns.items()))
        return self._form

    def to_dict(self) -> dict[str, list[Any]]:
        """The values of each feature."""
        return {name: list(column.values) for name, column in self.columns.items()}

    def to_arrow(self) -> pa.Table:
        """The values as an Arrow table in the features' own types.

        A column with values of status ``SAWTOOTH`` names their rows in its metadata: ``sawtooth_rows``, numbers from 0, by
        commas.
        """
        import pyarrow as pa

        fields = [_arrow_field(name, column) for name, column in self.columns.items()]
        arrays = [pa.array(column.values, field.type) for field, column in zip(fields, self.columns.values(), strict=True)]
        return pa.table(arrays, schema=pa.schema(fields))

    def to_polars(self) -> pl.DataFrame:
        """The values as a Polars frame."""
        import polars as pl

        return pl.DataFrame(pl.from_arrow(self.to_arrow()))

    @cached_property
    def statuses(self) -> dict[str, list[Status]]:
        """Of each value: ``PRESENT``, ``NULL``, ``NOT_FOUND`` (never seen), ``EXPIRED`` (older than the ttl), ``SAWTOOTH``.

        ``SAWTOOTH``: a value of a sawtooth window where the view has a sliding one; the entity has more events than
        ``max_block_bytes`` holds, and the view says ``on_overflow="sawtooth"``.
        """
        return {name: list(column.statuses) for name, column in self.columns.items()}

    @cached_property
    def event_times(self) -> dict[str, list[datetime | None]]:
        """Of each value: the event time of the row that it is from, or that expired."""
        made: dict[int, list[datetime | None]] = {}
        for column in self.columns.values():  # the features of one row share their list of times
            if id(column.times) not in made:
                made[id(column.times)] = [None if time is None else from_micros(time) for time in column.times]
        return {name: made[id(column.times)] for name, column in self.columns.items()}

    def __len__(self) -> int:
        return next((len(column.values) for column in self.columns.values()), 0)

    def __repr__(self) -> str:
        return f"OnlineResponse({len(self)} entities: {', '.join(self.columns)})"


def _arrow_field(name: str, column: Column) -> pa.Field:
    import pyarrow as pa

    field = pa.field(name, t.to_arrow(column.field.type))
    if SAWTOOTH not in column.statuses:
        return field
    rows = ",".join(str(i) for i, status in enumerate(column.statuses) if status == SAWTOOTH)
    return field.with_metadata({"sawtooth_rows": rows})
