"""One view looked up for a batch of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.features import ViewLookup
from featurestore.offline.labels import INSTANT
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms import asof, engines
from featurestore.transforms.casts import polars_type
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import KEY_ID, match_keys, number_keys
from featurestore.transforms.views import ComputedView, check_rows, named

STATUS: Final = pl.Enum(["PRESENT", "NULL", "NOT_FOUND", "EXPIRED"])
_ROW: Final = "__row"
_VALID: Final = "__valid:"
_NEVER: Final = np.iinfo(np.int64).min
_WITHOUT_VALUE: Final = {asof.FOUND: "NULL", asof.NOT_FOUND: "NOT_FOUND", asof.EXPIRED: "EXPIRED"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The features of a look-up for each label, their statuses (both by internal name), and what computed them."""

    values: pl.DataFrame
    statuses: pl.DataFrame
    engine: EngineRecord


def look_up(
    lookup: ViewLookup, computed: ComputedView, labels: pl.DataFrame, *, as_known: bool, engine: EngineRecord
) -> Answer:
    """The features of labels as of their instants.

    Two passes over the view's rows: keys and times of the labels' keys first, to find the rows that answer; then the features
    of those rows only.

    Args:
        labels: the look-up's key columns and ``__instant``.

    Raises:
        TransformError: ``as_known`` on a view that does not know when its rows could first be known.
    """
    view = lookup.view
    if as_known:
        check_arrival_known(view.name, computed)
    join_keys = [key.name for key in view.join_keys]
    keys = labels.select(
        *(pl.col(column).alias(key) for key, column in zip(join_keys, lookup.key_columns, strict=True)), INSTANT
    )
    table, ids = number_keys(keys, join_keys)
    instants = keys[INSTANT]
    frame = computed.frame.with_row_index(_ROW)
    valid = [pl.col(f.name).is_not_null().alias(_VALID + f.name) for f in lookup.features] if view.last_non_null else []
    seen = frame.select(_ROW, *join_keys, EVENT_TIME, ARRIVAL_TIME, SEQUENCE, *valid)
    if labels.height:
        latest = pl.lit(instants.max()).cast(pl.Datetime("us", "UTC"))
        seen = seen.filter((pl.col(EVENT_TIME) <= latest) | pl.col(EVENT_TIME).is_null())
    with named(view.name):
        rows, engine = engines.collect(match_keys(seen, table, join_keys), engine)
    check_rows(view.name, rows)
    index = _AsOfRows(rows, engine, as_known=as_known, ttl=view.ttl)
    found = {
        f.name: index.find(ids, instants, rows[_VALID + f.name] if valid else None)
        for f in lookup.features[: None if valid else 1]
    }
    status = index.status(ids, instants) if valid else None
    first = next(iter(found.values()), None)
    winners = {f.name: found.get(f.name, first) for f in lookup.features}
    with named(view.name):
        values, engine = _gather(computed.frame, lookup.features, {name: w.rows for name, w in winners.items() if w}, engine)
    statuses = {
        lookup.column(name): _statuses(status if status is not None else winner.status, column)
        for (name, column), winner in zip(values.items(), winners.values(), strict=True)
        if winner
    }
    renamed = pl.DataFrame([column.alias(lookup.column(name)) for name, column in values.items()])
    return Answer(renamed, pl.DataFrame(statuses), engine)


def check_arrival_known(view: str, computed: ComputedView) -> None:
    """Refuse ``as_known`` where it would have to be guessed.

    Raises:
        TransformError: the transform mixes rows and does not say when its result could first be known.
    """
    if not computed.arrival_known:
        raise TransformError(
            view,
            "as_known cannot be answered: its transform mixes rows and does not say when the result could first be known",
            hint='add an expression named __arrival_time, such as pl.col("__arrival_time").max() in agg(...)',
        )


@dataclass(frozen=True, slots=True)
class _Found:
    rows: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]


class _AsOfRows:
    """The kernel over a frame of rows, on an engine's arrays."""

    def __init__(self, rows: pl.DataFrame, engine: EngineRecord, *, as_known: bool, ttl: int | None) -> None:
        self._engine = engine
        self._row_numbers = rows[_ROW].to_numpy().astype(np.int64)
        events = asof.Events(
            self._device(rows[KEY_ID]),
            self._device(rows[EVENT_TIME]),
            self._device_or_none(rows[ARRIVAL_TIME], needed=as_known),
            self._device_or_none(rows[SEQUENCE]),
        )
        self._kernel = asof.AsOf(engines.arrays(engine), events, as_known=as_known, ttl=ttl)

    def find(self, ids: pl.Series, instants: pl.Series, valid: pl.Series | None) -> _Found:
        mask = None if valid is None else engines.to_device(self._engine, valid.to_numpy())
        answers = self._kernel.find(self._device(ids), self._device(instants), mask)
        position = engines.to_host(self._engine, answers.rows)
        rows = self._row_numbers[position] if len(self._row_numbers) else position
        return _Found(np.where(position >= 0, rows, -1), engines.to_host(self._engine, answers.status))

    def status(self, ids: pl.Series, instants: pl.Series) -> np.ndarray[Any, Any]:
        """Whether there are candidates at all, whatever they hold."""
        return self.find(ids, instants, None).status

    def _device(self, values: pl.Series) -> Any:
        return engines.to_device(self._engine, values.to_physical().to_numpy())

    def _device_or_none(self, values: pl.Series, *, needed: bool = False) -> Any:
        if values.null_count() == len(values) and not needed:
            return None
        return self._device(values.to_physical().fill_null(_NEVER))


def _gather(
    frame: pl.LazyFrame, features: Sequence[Field], winners: dict[str, np.ndarray[Any, Any]], engine: EngineRecord
) -> tuple[dict[str, pl.Series], EngineRecord]:
    """The values of rows by feature; each feature may have rows of its own, -1 for none."""
    distinct = {id(rows): rows for rows in winners.values()}
    size = max((int(rows.max(initial=-1)) for rows in distinct.values()), default=-1) + 1
    if size == 0:
        return {f.name: pl.Series(f.name, [None] * len(winners[f.name]), polars_type(f.type)) for f in features}, engine
    mask = np.zeros(size, dtype=np.bool_)
    for rows in distinct.values():
        mask[rows[rows >= 0]] = True
    # A mask beside the frame: half the time of a filter by row number, and rows of no interest are dropped batch by batch.
    candidates = frame.select(f.name for f in features).head(size)
    chosen = pl.concat([candidates, pl.LazyFrame({_ROW: mask})], how="horizontal").filter(pl.col(_ROW))
    got, engine = engines.collect(chosen.drop(_ROW), engine)
    place = np.cumsum(mask) - 1
    positions = {key: _positions(rows, place) for key, rows in distinct.items()}
    return {f.name: got[f.name].gather(positions[id(winners[f.name])]) for f in features}, engine


def _positions(rows: np.ndarray[Any, Any], place: np.ndarray[Any, Any]) -> pl.Series:
    found = pl.Series(rows >= 0)
    return pl.select(pl.when(found).then(pl.Series(place[rows]))).to_series()


def _statuses(status: np.ndarray[Any, Any], values: pl.Series) -> pl.Series:
    without = pl.Series(status).replace_strict(_WITHOUT_VALUE, return_dtype=STATUS)
    return pl.select(pl.when(values.is_not_null()).then(pl.lit("PRESENT", dtype=STATUS)).otherwise(without)).to_series()
