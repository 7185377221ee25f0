"""Retrieval in more data than memory: bucket by bucket of the entity key's hash.

This is the way of labels that do not fit into memory, and of views that cannot be looked up piece by piece (windows, and
transforms that mix rows). Keys of labels and rows of a view are dealt into buckets, so that the rows of a key and all labels
that ask for it meet in one. What each bucket answers is dealt again, by label row number, into stretches of the labels' order.
One pass writes, one pass reads, nothing is sorted but the rows of one bucket or one stretch at a time. A key's rows are never
split here: memory is bounded by the limit or by the rows of the largest key, whichever is more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import polars as pl

from featurestore.features import ResolvedFeatures, ViewLookup
from featurestore.offline.labels import INSTANT, Labels, key_frame
from featurestore.offline.lookups import STATUS, Answer
from featurestore.offline.pieces import PIECE_ROWS
from featurestore.offline.spill import Buckets, in_batches, key_bucket, range_bucket
from featurestore.offline.view_rows import ViewRows
from featurestore.registry.types import DataType
from featurestore.transforms.casts import polars_type
from featurestore.transforms.engines import EngineRecord
from featurestore.transforms.views import named

if TYPE_CHECKING:
    from featurestore.offline.inputs import Inputs

OpenRows: TypeAlias = Callable[[ViewLookup, int | None], ViewRows]
LookUp: TypeAlias = Callable[[ViewRows, pl.DataFrame], Answer]

_ROW: Final = "__label_row"
_KERNEL_BYTES: Final = 96
"""Of an event or a label in the kernel: packed key, order, ranks, times, arrival and sequence, and one copy while sorting."""
_TEXT_BYTES: Final = 48
_EARLIEST: Final = -(1 << 62)


def bytes_needed(inputs: Inputs, labels: Labels, resolved: ResolvedFeatures, *, whole: bool) -> int:
    """About how much memory the retrieval takes in one piece: the labels and their answers, and the largest view.

    Args:
        whole: count all rows of a view, also where it is looked up piece by piece.
    """
    per_label = sum(_width(dtype) for dtype in labels.schema.values()) + _KERNEL_BYTES
    per_label += sum(_width(polars_type(output.feature.type)) + 1 for output in resolved.outputs)
    largest = 0
    for lookup in resolved.lookups:
        width = sum(_width(polars_type(f.type)) for f in (*lookup.view.join_keys, *lookup.features))
        rows = inputs.rows(lookup.view)
        if not whole and rows > PIECE_ROWS and inputs.in_pieces(lookup.view):
            rows = PIECE_ROWS
        largest = max(largest, rows * (width + _KERNEL_BYTES))
    return labels.rows * per_label + largest


def spilled_answers(
    labels: Labels, resolved: ResolvedFeatures, open_rows: OpenRows, look_up: LookUp, *, buckets: int, folder: Path
) -> Iterator[tuple[pl.DataFrame, list[Answer]]]:
    """Stretches of the labels in their order, each with the answers of all look-ups.

    Args:
        open_rows: the rows of a look-up, up to an instant.
        look_up: answers keys from the rows of a bucket.
        buckets: into how many the keys are dealt.
        folder: an empty one.
    """
    stretch = max(1, min(1_000_000, -(-labels.rows // buckets)))
    kept, keys, until = _deal_labels(labels, resolved, buckets, stretch, folder)
    answers = [
        _answer_buckets(open_rows(lookup, until), lookup, dealt, look_up, buckets, stretch, folder / f"view-{number}")
        for number, (lookup, dealt) in enumerate(zip(resolved.lookups, keys, strict=True))
    ]
    for number in range(max(1, -(-labels.rows // stretch))):
        found = [_sorted_answer(lookup, dealt.take(number)) for lookup, dealt in zip(resolved.lookups, answers, strict=True)]
        yield kept.take(number).drop(_ROW), found


def _deal_labels(
    labels: Labels, resolved: ResolvedFeatures, buckets: int, stretch: int, folder: Path
) -> tuple[Buckets, list[Buckets], int | None]:
    row = pl.Schema({_ROW: pl.Int64()})
    kept = Buckets(folder / "labels", pl.Schema({**row, **labels.schema}))
    keys = []
    for number, lookup in enumerate(resolved.lookups):
        types = {c: polars_type(k.type) for k, c in zip(lookup.view.join_keys, lookup.key_columns, strict=True)}
        keys.append(Buckets(folder / f"keys-{number}", pl.Schema({**row, **types, INSTANT: pl.Int64()})))
    rows_seen, until = 0, _EARLIEST

    def deal(batch: pl.DataFrame) -> None:
        nonlocal rows_seen, until
        rows = pl.Series(_ROW, range(rows_seen, rows_seen + batch.height), dtype=pl.Int64)
        rows_seen += batch.height
        found = key_frame(batch, resolved).insert_column(0, rows)
        latest: Any = found[INSTANT].max()
        until = max(until, _EARLIEST if latest is None else latest)
        kept.write(batch.insert_column(0, rows), range_bucket(_ROW, stretch))
        for lookup, dealt in zip(resolved.lookups, keys, strict=True):
            columns = list(dict.fromkeys(lookup.key_columns))
            dealt.write(found.select(_ROW, *columns, INSTANT), key_bucket(lookup.key_columns, buckets))

    in_batches(labels.frame, deal)
    for dealt in (kept, *keys):
        dealt.finish()
    return kept, keys, None if until == _EARLIEST else until


def _answer_buckets(
    rows: ViewRows, lookup: ViewLookup, keys: Buckets, look_up: LookUp, buckets: int, stretch: int, folder: Path
) -> Buckets:
    with named(lookup.view.name):
        events = _deal_rows(rows, [key.name for key in lookup.view.join_keys], buckets, folder / "rows")
    fields = [(lookup.column(f.name), polars_type(f.type)) for f in lookup.features]
    columns = {_ROW: pl.Int64(), **dict(fields), **{_status(name): STATUS for name, _ in fields}}
    answers = Buckets(folder / "answers", pl.Schema(columns))
    for number in range(buckets):
        labels, bucket = keys.take(number), events.take(number)
        if not labels.height:
            continue
        found = look_up(rows.with_frame(bucket.lazy()), labels.drop(_ROW))
        statuses = found.statuses.rename(_status)
        answers.write(pl.concat([labels.select(_ROW), found.values, statuses], how="horizontal"), range_bucket(_ROW, stretch))
    answers.finish()
    return answers


def _deal_rows(rows: ViewRows, join_keys: list[str], buckets: int, folder: Path) -> Buckets:
    dealt = Buckets(folder, rows.frame.collect_schema())
    for piece in rows.pieces():
        in_batches(piece, lambda batch: dealt.write(batch, key_bucket(join_keys, buckets)))
    dealt.finish()
    return dealt


def _sorted_answer(lookup: ViewLookup, found: pl.DataFrame) -> Answer:
    found = found.sort(_ROW)
    names = [lookup.column(f.name) for f in lookup.features]
    statuses = found.select(pl.col(_status(name)).alias(name) for name in names)
    return Answer(found.select(names), statuses, EngineRecord("cpu", "out of core"))


def _status(name: str) -> str:
    return f"{name}:status"


def _width(dtype: DataType | pl.DataType) -> int:
    if isinstance(dtype, pl.DataType) and (dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean):
        return 8
    return _TEXT_BYTES
