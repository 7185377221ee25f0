"""The frame that a transform gets: a lazy frame that keeps the instants of its rows.

Through steps that treat each row by itself the hidden columns ``__arrival_time`` and ``__sequence`` travel along, though the
author never names them. A step that mixes rows (``join``, ``over``, ``shift``, ``group_by`` ...) keeps them for ordering
ties at most: when its result could first be known, only its author can say, by an expression named ``__arrival_time``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import polars as pl
from polars.exceptions import PolarsError

from featurestore.registry.row_wise import treats_rows_alone
from featurestore.time import ARRIVAL_TIME, SEQUENCE

HIDDEN: Final = (ARRIVAL_TIME, SEQUENCE)


class Events(pl.LazyFrame):
    """Rows that each come from one event. Made by :meth:`of`."""

    row_wise = True
    arrival_known = True

    @classmethod
    def of(cls, frame: pl.LazyFrame) -> Events:
        """A lazy frame with the hidden columns, as events."""
        return _wrap(cls, frame)

    @classmethod
    def _from_pyldf(cls, ldf: Any) -> pl.LazyFrame:
        # Polars makes every result here: what is not listed below as row-wise mixes rows.
        return _wrap(MixedEvents, _plain(ldf))

    def _rows(self) -> pl.LazyFrame:
        return _plain(self._ldf)

    def select(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        frame = self._rows()
        expressions = _expressions(exprs, named_exprs)
        result = frame.select(expressions)
        row_wise = [is_row_wise(e) for e in expressions]
        if not any(alone and _reads_columns(e) for alone, e in zip(row_wise, expressions, strict=True)):
            # Nothing here has the length of the frame (``select(pl.len())``): hidden columns would change the answer's height.
            return result
        names = result.collect_schema().names()
        missing = [name for name in HIDDEN if name not in names and name in frame.collect_schema().names()]
        return self._next(frame.select(*expressions, *missing), expressions, all(row_wise))

    def with_columns(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        expressions = _expressions(exprs, named_exprs)
        row_wise = all(is_row_wise(e) for e in expressions)
        return self._next(self._rows().with_columns(*exprs, **named_exprs), expressions, row_wise)

    def select_seq(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        return self.select(*exprs, **named_exprs)

    def with_columns_seq(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        return self.with_columns(*exprs, **named_exprs)

    def filter(self, *predicates: Any, **constraints: Any) -> pl.LazyFrame:
        row_wise = all(is_row_wise(e) for e in _expressions(predicates, {}))
        return self._next(self._rows().filter(*predicates, **constraints), [], row_wise)

    def remove(self, *predicates: Any, **constraints: Any) -> pl.LazyFrame:
        row_wise = all(is_row_wise(e) for e in _expressions(predicates, {}))
        return self._next(self._rows().remove(*predicates, **constraints), [], row_wise)

    def drop(self, *columns: Any, strict: bool = True) -> pl.LazyFrame:
        frame = self._rows()
        kept = set(frame.drop(*columns, strict=strict).collect_schema().names())
        names = [name for name in frame.collect_schema().names() if name in kept or name in HIDDEN]
        return _wrap(type(self), frame.select(names))

    def rename(self, mapping: Any, *, strict: bool = True) -> pl.LazyFrame:
        return self._if_kept(self._rows().rename(mapping, strict=strict))

    def cast(self, dtypes: Any, *, strict: bool = True) -> pl.LazyFrame:
        if not isinstance(dtypes, dict):
            dtypes = {name: dtypes for name in self._rows().collect_schema().names() if name not in HIDDEN}
        return self._if_kept(self._rows().cast(dtypes, strict=strict))

    def explode(self, *args: Any, **options: Any) -> pl.LazyFrame:
        return self._if_kept(self._rows().explode(*args, **options))

    def unnest(self, *args: Any, **options: Any) -> pl.LazyFrame:
        return self._if_kept(self._rows().unnest(*args, **options))

    def drop_nulls(self, *args: Any, **options: Any) -> pl.LazyFrame:
        return self._if_kept(self._rows().drop_nulls(*args, **options))

    def fill_nan(self, value: Any) -> pl.LazyFrame:
        return self._if_kept(self._rows().fill_nan(value))

    def sort(self, by: Any, *more_by: Any, **options: Any) -> pl.LazyFrame:
        return self._if_kept(self._rows().sort(by, *more_by, **{**options, "maintain_order": True}))

    def lazy(self) -> pl.LazyFrame:
        return self

    def clone(self) -> pl.LazyFrame:
        return _wrap(type(self), self._rows())

    def collect(self, **options: Any) -> Any:
        """The rows without the hidden columns: what is done to them next is out of sight."""
        return self._rows().drop(*HIDDEN, strict=False).collect(**options)

    def _next(self, frame: pl.LazyFrame, expressions: Iterable[pl.Expr], row_wise: bool) -> pl.LazyFrame:
        stated = any(e.meta.output_name(raise_if_undetermined=False) == ARRIVAL_TIME for e in expressions)
        if row_wise and self.row_wise:
            return _wrap(Events, frame)
        known = stated or (row_wise and self.arrival_known)
        return _wrap(StatedEvents if known else MixedEvents, frame)

    def _if_kept(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        names = frame.collect_schema().names()
        return _wrap(type(self) if all(name in names for name in HIDDEN) else MixedEvents, frame)


class MixedEvents(Events):
    """Rows of several events each; when they could first be known has not been said."""

    row_wise = False
    arrival_known = False


class StatedEvents(MixedEvents):
    """Rows of several events each, whose author said when they could first be known."""

    arrival_known = True


def is_row_wise(expression: pl.Expr) -> bool:
    """Whether an expression answers each row from that row alone, as far as can be seen: not into Python functions.

    >>> is_row_wise(pl.col("a") + 1), is_row_wise(pl.col("a").shift(1))
    (True, False)
    """
    try:
        text = expression.meta.serialize(format="json")
    except (PolarsError, ImportError, TypeError, ValueError, RecursionError):
        return False
    return treats_rows_alone(json.loads(text))


def _expressions(positional: Iterable[Any], named: dict[str, Any]) -> list[pl.Expr]:
    """Arguments as Polars reads them: text, by place or by name, is a column; anything else is a value."""
    flat: list[Any] = []
    for item in positional:
        flat.extend(item if isinstance(item, Iterable) and not isinstance(item, str | pl.Expr | pl.Series) else [item])
    return [*map(_expression, flat), *(_expression(value).alias(name) for name, value in named.items())]


def _expression(item: Any) -> pl.Expr:
    if isinstance(item, pl.Expr):
        return item
    return pl.col(item) if isinstance(item, str) else pl.lit(item)


def _reads_columns(expression: pl.Expr) -> bool:
    return bool(expression.meta.root_names()) or expression.meta.has_multiple_outputs()


def _plain(ldf: Any) -> pl.LazyFrame:
    return pl.LazyFrame._from_pyldf(ldf)


def _wrap(cls: type[Events], frame: pl.LazyFrame) -> Events:
    events = cls.__new__(cls)
    events._ldf = frame._ldf
    return events
