"""The features of the rows that answer, and of those rows only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Final

import numpy as np
import polars as pl

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
    *,
    stretch: int | None,
) -> tuple[dict[str, pl.Series], EngineRecord]:
    """The values of each feature for all labels; null where no row answers.

    Args:
        frames: the pieces that the winners are in.
        winners: by feature, which may share them.
        stretch: where some rows of a piece are had without computing the others, how many to read at once.
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
        wanted = np.flatnonzero(mask)
        place = np.empty(len(mask), dtype=np.int64)
        place[wanted] = np.arange(before, before + len(wanted))
        for key, labels in here.items():
            positions[key][asked.places[labels]] = place[rows[key]]
        before += len(wanted)
        reads += [(frame, mask)] if stretch is None else _stretches(frame, wanted, stretch)
    schema = {f.name: polars_type(f.type) for f in features}
    read = _read_masked if stretch is None else _read_slice
    # Row groups are too small for all cores; files are not.
    with ThreadPoolExecutor(1 if stretch is None else 2, "featurestore-gather") as pool:
        answered = list(
            pool.map(
                lambda frame, wanted: read(frame.select(list(schema)), wanted, engine),
                [f for f, _ in reads],
                [w for _, w in reads],
            )
        )
    parts = [part for part, _ in answered]
    engine = reduce(EngineRecord.merged, (record for _, record in answered), engine)
    answered.clear()
    found = pl.concat(parts, rechunk=True) if parts else pl.DataFrame({name: [None] for name in schema}, schema=schema)
    parts.clear()
    columns: dict[str, pl.Series] = {}
    for key, place in positions.items():
        names = [name for name in schema if id(winners[name]) == key]
        columns |= _placed(found.select(names), place).to_dict()
    return {name: columns[name] for name in schema}, engine


def _placed(found: pl.DataFrame, places: Ints) -> pl.DataFrame:
    """Rows by place; nulls where it is -1."""
    known = places >= 0
    if known.all():
        return found[places]
    # Any row, and then null: a third of the time of a place that is null.
    return found[np.where(known, places, 0)].select(pl.when(pl.Series(known)).then(pl.all()).name.keep())


def _stretches(frame: pl.LazyFrame, rows: Ints, stretch: int) -> Iterator[tuple[pl.LazyFrame, Ints]]:
    """Parts of a piece that hold some of these rows, and where they stand in them."""
    starts = np.arange(0, int(rows[-1]) + 1, stretch)
    bounds = [*rows.searchsorted(starts), len(rows)]
    for start, low, high in zip(starts.tolist(), bounds, bounds[1:], strict=False):
        if low < high:
            yield frame.slice(start, stretch), rows[low:high] - start


def _read_slice(frame: pl.LazyFrame, rows: Ints, engine: EngineRecord) -> tuple[pl.DataFrame, EngineRecord]:
    first, last = int(rows[0]), int(rows[-1])
    # Not by the streaming engine, which takes a quarter more time for so few rows.
    read = frame.slice(first, last - first + 1).collect(engine="in-memory")
    return read[rows - first], engine


def _read_masked(frame: pl.LazyFrame, mask: Ints, engine: EngineRecord) -> tuple[pl.DataFrame, EngineRecord]:
    # A mask beside the frame: half the time of a filter by row number, and rows of no interest are dropped batch by batch.
    chosen = pl.concat([frame.head(len(mask)), pl.LazyFrame({_WANTED: mask})], how="horizontal").filter(pl.col(_WANTED))
    return engines.collect(chosen.drop(_WANTED), engine)
