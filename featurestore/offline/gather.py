"""The features of the rows that answer, and of those rows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from featurestore.offline.pieces import each
from featurestore.offline.winners import Asked, Winners
from featurestore.registry.records import Field
from featurestore.transforms import asof, engines
from featurestore.transforms.casts import polars_type
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import Ints

_WANTED: Final = "__wanted"


def gather(
    frames: Sequence[pl.LazyFrame],
    features: Sequence[Field],
    winners: Mapping[str, Winners],
    ttl: int | None,
    asked: Asked,
    engine: EngineRecord,
) -> tuple[dict[str, pl.Series], EngineRecord]:
    """The values of each feature for all labels; null where no row answers.

    Args:
        frames: the pieces that the winners are in.
        winners: by feature, which may share them.
    """
    distinct = {id(chosen): chosen for chosen in winners.values()}
    answers = {key: np.flatnonzero(chosen.status(ttl) == asof.FOUND) for key, chosen in distinct.items()}
    positions = {key: np.full(asked.count, -1, dtype=np.int64) for key in distinct}
    reads: list[tuple[pl.LazyFrame, Ints]] = []
    before = 0
    for number, frame in enumerate(frames):
        here = {key: answers[key][distinct[key].pieces[answers[key]] == number] for key in distinct}
        rows = {key: distinct[key].rows[labels] for key, labels in here.items()}
        mask = np.zeros(max((int(r.max(initial=-1)) for r in rows.values()), default=-1) + 1, dtype=np.bool_)
        if not len(mask):
            continue
        for chosen in rows.values():
            mask[chosen] = True
        place = np.cumsum(mask) - 1
        for key, labels in here.items():
            positions[key][asked.places[labels]] = before + place[rows[key]]
        before += int(place[-1]) + 1
        reads.append((frame, mask))
    names = [f.name for f in features]
    parts = each(lambda frame, mask: _read(frame.select(names), mask, engine), *zip(*reads, strict=True)) if reads else []
    for _, record in parts:
        engine = engine.merged(record)
    # A row of nulls after the last: to take it is half the work of a place that is null.
    nothing = pl.DataFrame({f.name: [None] for f in features}, schema={f.name: polars_type(f.type) for f in features})
    found = pl.concat([*(part for part, _ in parts), nothing], rechunk=True)
    places = {key: pl.Series(np.where(place < 0, before, place)) for key, place in positions.items()}
    return dict(zip(names, found.select(pl.col(n).gather(places[id(winners[n])]) for n in names), strict=True)), engine


def _read(frame: pl.LazyFrame, mask: Ints, engine: EngineRecord) -> tuple[pl.DataFrame, EngineRecord]:
    # A mask beside the frame: half the time of a filter by row number, and rows of no interest are dropped batch by batch.
    chosen = pl.concat([frame.head(len(mask)), pl.LazyFrame({_WANTED: mask})], how="horizontal").filter(pl.col(_WANTED))
    return engines.collect(chosen.drop(_WANTED), engine)
