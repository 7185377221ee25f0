"""One view looked up for a batch of labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.features import ViewLookup
from featurestore.offline.gather import gather
from featurestore.offline.labels import INSTANT
from featurestore.offline.pieces import Piece
from featurestore.offline.search import Search
from featurestore.offline.winners import Asked
from featurestore.transforms import asof
from featurestore.transforms.arrays import series_of
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import Ints
from featurestore.transforms.views import ComputedView, named

STATUS: Final = pl.Enum(["PRESENT", "NULL", "NOT_FOUND", "EXPIRED"])
_NAMES: Final = {asof.FOUND: "PRESENT", asof.NOT_FOUND: "NOT_FOUND", asof.EXPIRED: "EXPIRED"}
_BY_CODE: Final = pl.Series([_NAMES[code] for code in range(len(_NAMES))], dtype=STATUS)


@dataclass(frozen=True, slots=True)
class Answer:
    """The features of a look-up for each label, their statuses (both by internal name), and what computed them."""

    values: pl.DataFrame
    statuses: pl.DataFrame
    engine: EngineRecord


def look_up(
    lookup: ViewLookup,
    computed: ComputedView,
    labels: pl.DataFrame,
    *,
    as_known: bool,
    engine: EngineRecord,
    pieces: Iterable[Piece] | None = None,
) -> Answer:
    """The features of labels as of their instants.

    Two passes over the view's rows, piece by piece: keys and times first, to find the rows that answer; then the features of
    those rows only.

    Args:
        labels: the look-up's key columns and ``__instant``.
        pieces: the rows of the view, which together are its frame; None takes them in one.

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
    # A GPU takes all at once: it has its own memory, and small pieces leave it idle.
    whole = pieces is None or engine.name == "gpu"
    taken = [Piece(lambda: computed.frame)] if whole or pieces is None else list(pieces)
    names = [f.name for f in lookup.features]
    non_null = names if view.last_non_null else []
    search = Search(view.name, taken, keys, join_keys, non_null, as_known=as_known, engine=engine)
    with named(view.name):
        engine = search.run()
        winners = {name: search.by_feature.get(name, search.newest) for name in names}
        values, engine = gather(taken, lookup.features, winners, view.ttl, search.asked, engine)
    renamed = pl.DataFrame([column.alias(lookup.column(name)) for name, column in values.items()])
    return Answer(renamed, _statuses(search.newest.status(view.ttl), search.asked, renamed), engine)


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


def _statuses(status: Ints, asked: Asked, values: pl.DataFrame) -> pl.DataFrame:
    """The status of each value: that of its row, or ``NULL`` where the row holds none."""
    codes = np.full(asked.count, asof.NOT_FOUND, dtype=np.int8)
    codes[asked.places] = status
    without = int(np.count_nonzero(codes != asof.FOUND))
    rows = _BY_CODE.gather(series_of(codes))

    def of(column: pl.Series) -> pl.Series:
        if column.null_count() == without:
            return rows.alias(column.name)
        is_null = column.is_null() & (rows == "PRESENT")
        return pl.select(pl.when(is_null).then(pl.lit("NULL", dtype=STATUS)).otherwise(rows).alias(column.name)).to_series()

    return pl.DataFrame([of(column) for column in values])
