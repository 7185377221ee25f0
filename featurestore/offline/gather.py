"""The features of the rows that answer, and of those rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import Final

import numpy as np
import polars as pl

from featurestore.offline.pieces import Piece
from featurestore.offline.take_stored import take_stored
from featurestore.offline.winners import Answered, Asked, Winners
from featurestore.registry.records import Field
from featurestore.transforms import engines
from featurestore.transforms.arrays import series_of
from featurestore.transforms.casts import polars_type
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.keys import Ints

_WANTED: Final = "__wanted"


def gather(
    pieces: Sequence[Piece],
    features: Sequence[Field],
    winners: Mapping[str, Winners],
    ttl: int | None,
    asked: Asked,
    engine: EngineRecord,
) -> tuple[dict[str, pl.Series], EngineRecord]:
    """The values of each feature for all labels; null where no row answers.

    Args:
        pieces: what the winners are in.
        winners: by feature, which may share them.
    """
    types = {f.name: polars_type(f.type) for f in features}
    answered = Answered.all({name: winners[name] for name in types}, ttl)
    columns = take_stored(pieces, types, answered, asked)
    types = {name: dtype for name, dtype in types.items() if name not in columns}
    if types:
        decoded, engine = _decode(pieces, types, answered, asked, engine)
        columns |= decoded
    return {f.name: columns[f.name] for f in features}, engine


def _decode(
    pieces: Sequence[Piece], types: Mapping[str, pl.DataType], answered: Sequence[Answered], asked: Asked, engine: EngineRecord
) -> tuple[dict[str, pl.Series], EngineRecord]:
    """Columns as Polars reads them: each piece, or those stretches of it that hold an answer, once."""
    answered = [some for some in answered if not types.keys().isdisjoint(some.names)]
    positions = [np.full(asked.count, -1, dtype=np.int64) for _ in answered]
    reads: list[Callable[[], tuple[pl.DataFrame, EngineRecord]]] = []
    before = 0
    for number, piece in enumerate(pieces):
        found = [some.in_piece(number) for some in answered]
        mask = np.zeros(max((int(rows.max(initial=-1)) for _, rows in found), default=-1) + 1, dtype=np.bool_)
        if not len(mask):
            continue
        for _, rows in found:
            mask[rows] = True
        wanted = np.flatnonzero(mask)
        place = np.empty(len(mask), dtype=np.int64)
        place[wanted] = np.arange(before, before + len(wanted))
        for (labels, rows), places in zip(found, positions, strict=True):
            places[asked.places[labels]] = place[rows]
        before += len(wanted)
        frame = piece.frame.select(list(types))
        if piece.stretch is None or engine.name == "gpu":
            reads.append(partial(_read_masked, frame, mask, engine))
        else:
            reads += [partial(_read_slice, *part, engine) for part in _stretches(frame, wanted, piece.stretch)]
    # Row groups are too small for all cores; files are not.
    small = all(piece.stretch is not None for piece in pieces)
    with ThreadPoolExecutor(2 if small else 1, "featurestore-gather") as pool:
        taken = list(pool.map(lambda read: read(), reads))
    parts = [part for part, _ in taken]
    engine = reduce(EngineRecord.merged, (record for _, record in taken), engine)
    taken.clear()
    whole = pl.concat(parts, rechunk=True) if parts else pl.DataFrame({name: [None] for name in types}, schema=types)
    parts.clear()
    columns: dict[str, pl.Series] = {}
    for some, places in zip(answered, positions, strict=True):
        columns |= _placed(whole.select(name for name in some.names if name in types), places).to_dict()
    return columns, engine


def _placed(found: pl.DataFrame, places: Ints) -> pl.DataFrame:
    """Rows by place; nulls where it is -1."""
    known = places >= 0
    if known.all():
        return found[series_of(places)]
    # Any row, and then null: a third of the time of a place that is null.
    return found[series_of(np.where(known, places, 0))].select(pl.when(series_of(known)).then(pl.all()).name.keep())


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
    return read[series_of(rows - first)], engine


def _read_masked(frame: pl.LazyFrame, mask: Ints, engine: EngineRecord) -> tuple[pl.DataFrame, EngineRecord]:
    # A mask beside the frame: half the time of a filter by row number, and rows of no interest are dropped batch by batch.
    chosen = pl.concat([frame.head(len(mask)), pl.LazyFrame({_WANTED: mask})], how="horizontal").filter(pl.col(_WANTED))
    return engines.collect(chosen.drop(_WANTED), engine)
