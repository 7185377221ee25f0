"""Window features of any labels: the seam between retrieval and the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from featurestore.errors import TransformError
from featurestore.registry.functions import taken
from featurestore.registry.types import Decimal, List, Vector
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.windows import columns
from featurestore.transforms.windows.approximate import APPROXIMATE
from featurestore.transforms.windows.collect import Collector
from featurestore.transforms.windows.columns import HostArray, Operand, polars_type, to_host
from featurestore.transforms.windows.in_threads import in_threads
from featurestore.transforms.windows.kernels import KERNELS
from featurestore.transforms.windows.layout import Bucket, Layout, Ranges, buckets
from featurestore.transforms.windows.schema import WindowFeature, window_features
from featurestore.transforms.windows.values import Values, joined

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

BUCKET_ROWS: Final = 1 << 18
"""Events and labels worked on at a time, unless one key has more."""

_FIRST: Final = -(1 << 63)
"""In place of an arrival or a sequence that a transform lost: before all others, as in look-ups."""


def compute_windows(
    view: FeatureView,
    events: pl.DataFrame,
    event_keys: HostArray,
    label_keys: HostArray,
    label_times: HostArray,
    *,
    as_known: bool = False,
    xp: Any = np,
    bucket_rows: int = BUCKET_ROWS,
    threads: int | None = None,
) -> dict[str, pl.Series]:
    """The view's window features, and what it derives of them, for each label.

    Exact, by ``docs/semantics.md``: the same events give the same bits in whatever order they come, however they are cut
    into batches or buckets, and whether ``xp`` is NumPy or CuPy (sums and variances of floats included: ``exact.py``; only
    decayed sums depend on the order of addition, within 1e-12 of the sum of sizes). Time O((events + labels) log events),
    whatever the windows' width and however many events a key has; memory beyond the arguments and the answers: some 300
    bytes for each row of the bucket at work.

    Args:
        events: the columns that the aggregations read, with ``__event_time``, ``__arrival_time`` and ``__sequence``; in any
            order.
        event_keys, label_keys: int64, the same number for the same key, from 0; a negative one is no key: such events are
            not there, and such labels
            find empty windows. So do keys that have no events.
        label_times: int64, microseconds since the epoch.
        as_known: count only events that had arrived by the instant.
        xp: the array namespace that computes: ``numpy`` or ``cupy``; approximate aggregations are computed by NumPy anyway.
        bucket_rows: how many events and labels to work on at a time.
        threads: how many buckets to work on at once, on the CPU; None for one a core, at most 8.

    Returns:
        By feature name, in the order of :func:`window_schema`, one value a label.

    Raises:
        DefinitionError: as :func:`window_schema` does.
        TransformError: an integer sum overflows, or ``where=`` or a derived expression fails on the data.
    """
    source_columns = {name for a in view.aggregations for name in (a.column, a.by, a.order_by) if name}
    events = events.with_columns(
        pl.col(name).cast(pl.String) for name in sorted(source_columns) if events.schema.get(name) in (pl.Categorical, pl.Enum)
    )
    features = window_features(view, events.head(0).to_arrow().schema)
    groups = _groups(view, events, features, xp, label_keys >= 0)
    time, arrival, sequence = (_integers(events[name]) for name in (EVENT_TIME, ARRIVAL_TIME, SEQUENCE))
    keys = int(max(event_keys.max(initial=-1), label_keys.max(initial=-1))) + 1

    def compute(bucket: Bucket) -> None:
        rows = _by_key(event_keys, bucket.events, bucket)
        labels = bucket.labels[np.argsort(label_times[bucket.labels], kind="stable")]
        labels = _by_key(label_keys, labels, bucket)  # neighbours look up neighbours

        @cache
        def layout(space: Any) -> tuple[Layout, HostArray]:
            found = Layout(
                space,
                space.asarray(event_keys[rows] - bucket.first),
                space.asarray(time[rows]),
                lambda places: space.asarray(arrival[rows[to_host(places)]]),
                lambda places: space.asarray(sequence[rows[to_host(places)]]),
                space.asarray(label_keys[labels] - bucket.first),
                space.asarray(label_times[labels]),
                as_known=as_known,
            )
            return found, rows[to_host(found.order)]

        with np.errstate(all="ignore"):
            for group in groups:
                group.compute(*layout(np if group.on_host else xp), labels)

    def finish(feature: WindowFeature) -> pl.Series:
        with np.errstate(all="ignore"):
            return finished(
                feature, [group.collectors.pop(feature.name)[1] for group in groups if feature.name in group.collectors]
            )

    for _ in in_threads(compute, buckets(event_keys, label_keys, keys, bucket_rows), threads if xp is np else 1):
        pass
    return with_derived(view, {column.name: column for column in in_threads(finish, features, threads)})


@dataclass
class _Group:
    """Features that see the same values of one column."""

    mask: HostArray | None
    operand: Operand | None
    order: Operand | None
    skip_nan: bool
    on_host: bool
    collectors: dict[str, tuple[WindowFeature, Collector]] = field(default_factory=dict)

    def compute(self, layout: Layout, rows: HostArray, labels: HostArray) -> None:
        """Answer one bucket's labels."""
        spreads = any(feature.function.name in ("var", "std") for feature, _ in self.collectors.values())
        values = Values(layout, rows, self.mask, self.operand, skip_nan=self.skip_nan, spreads=spreads)
        joint: dict[tuple[Any, ...], Ranges] = {}
        for members in self._by_kernel().values():
            feature = members[0][0]
            windows = tuple((f.window, f.aggregation.bounds, f.aggregation.delay) for f, _ in members)
            if windows not in joint:
                joint[windows] = values.ranges(joined(layout.xp, [layout.ranges(*window) for window in windows]))
            kernels = APPROXIMATE if feature.aggregation.approx else KERNELS
            answer = kernels[feature.function.name](values, joint[windows], self._parameters(values, feature))
            for i, (_, collector) in enumerate(members):
                collector.add(answer.part(layout.xp, i, labels.size), labels)

    def _by_kernel(self) -> dict[tuple[str, bool, str], list[tuple[WindowFeature, Collector]]]:
        members: dict[tuple[str, bool, str], list[tuple[WindowFeature, Collector]]] = {}
        for feature, collector in self.collectors.values():
            aggregation = feature.aggregation
            kernel = (aggregation.function, aggregation.approx, aggregation.parameters)
            members.setdefault(kernel, []).append((feature, collector))
        return members

    def _parameters(self, values: Values, feature: WindowFeature) -> Mapping[str, Any]:
        given = dict(feature.parameters)
        seen = None if feature.column_type is None else taken(feature.function, feature.column_type)
        if isinstance(seen, Decimal):
            given["scale"] = seen.scale
        if self.operand is not None and self.operand.nan is not None and not self.skip_nan:
            given["nan_code"] = columns.NAN_CODE
        if self.order is not None:
            given["order"] = values.order_of(self.order)
        return given


def _groups(
    view: FeatureView, events: pl.DataFrame, features: Sequence[WindowFeature], xp: Any, answered: HostArray
) -> list[_Group]:
    groups: dict[tuple[Any, ...], _Group] = {}
    operands: dict[tuple[Any, ...], list[Operand]] = {}
    for feature in features:
        aggregation = feature.aggregation
        column = None if aggregation.column is None else events[aggregation.column]
        whole = feature.function.whole
        part_key = (aggregation.column, whole and isinstance(feature.column_type, List | Vector))
        if whole and not any(_same_column(f, feature) and not f.function.whole for f in features):
            part_key = (aggregation.column, True)
        if part_key not in operands:
            operands[part_key] = [] if column is None else _operands(column, whole=part_key[1])
        skip_nan = bool(feature.parameters.get("skip_nan", False))
        for j, operand in enumerate(operands[part_key] or [None]):
            where = None if aggregation.where is None else aggregation.where.data
            on_host = aggregation.approx and xp is not np
            key = (*part_key, j, where, aggregation.by, repr(feature.category), skip_nan, aggregation.order_by, on_host)
            if key not in groups:
                order = None if aggregation.order_by is None else columns.values(events[aggregation.order_by])
                groups[key] = _Group(row_mask(view, events, feature, order), operand, order, skip_nan, on_host)
            collector = Collector(view.name, feature, operand, column, answered)
            groups[key].collectors[feature.name] = (feature, collector)
    return list(groups.values())


def _same_column(left: WindowFeature, right: WindowFeature) -> bool:
    return left.aggregation.column == right.aggregation.column


def _operands(column: pl.Series, *, whole: bool) -> list[Operand]:
    if whole:
        return [columns.whole(column)]
    if isinstance(column.dtype, pl.List):
        return [columns.elements(column)]
    if isinstance(column.dtype, pl.Array):
        return [columns.values(column.arr.get(j)) for j in range(column.dtype.size)]
    return [columns.values(column)]


def row_mask(view: FeatureView, events: pl.DataFrame, feature: WindowFeature, order: Operand | None) -> HostArray | None:
    """Which events a feature's aggregation looks at; None for all."""
    aggregation = feature.aggregation
    conditions = [] if aggregation.where is None else [aggregation.where.polars()]
    if aggregation.by is not None:
        conditions.append(pl.col(aggregation.by) == pl.lit(feature.category).cast(events.schema[aggregation.by]))
    mask = None
    if conditions:
        try:
            chosen = events.select(pl.all_horizontal(conditions).fill_null(False)).to_series()
        except PolarsError as error:
            raise TransformError(
                view.name,
                f"feature {feature.name!r}: where= failed: {error}",
                hint="where= is row-wise and gives true or false",
            ) from error
        mask = chosen.to_numpy()
        mask = np.repeat(mask, events.height) if mask.size == 1 else mask
    if order is not None and order.valid is not None:
        mask = order.valid if mask is None else mask & order.valid
    return mask


def finished(feature: WindowFeature, collectors: Sequence[Collector]) -> pl.Series:
    """The column of a feature, of a collector each element; see :meth:`Collector.finish`."""
    parts = [collector.finish() for collector in collectors]
    empty = np.logical_and.reduce([nothing for _, nothing in parts])
    kind = polars_type(feature.type)
    if isinstance(feature.type, Vector) and feature.function.elementwise:
        present = np.logical_or.reduce([part.is_not_null().to_numpy() for part, _ in parts])
        answer = columns.vectors([part for part, _ in parts], present).cast(kind)
    else:
        answer = parts[0][0].cast(kind)
    if feature.empty is None or not empty.any():
        return answer.alias(feature.name)
    value = pl.lit(pl.Series([feature.empty], dtype=kind))
    return pl.select(pl.when(pl.Series(empty)).then(value).otherwise(answer).alias(feature.name)).to_series()


def with_derived(view: FeatureView, answers: dict[str, pl.Series]) -> dict[str, pl.Series]:
    """The answers, and what the view derives of them."""
    if not view.derived:
        return answers
    frame = pl.DataFrame(answers) if answers else pl.DataFrame()
    for name, expression in view.derived:
        try:
            frame = frame.with_columns(expression.polars().alias(name))
        except PolarsError as error:
            raise TransformError(
                view.name, f"derived feature {name!r}: {error}", hint=f"it may use {', '.join(frame.columns[:12])}"
            ) from error
    return {column.name: column for column in frame.get_columns()}


def _by_key(keys: HostArray, rows: HostArray, bucket: Bucket) -> HostArray:
    """The rows of a bucket, those of a key together, each key's as they come: what comes sorted by time is a run a key."""
    width = bucket.last - bucket.first
    if width == 1:
        return rows
    ranks = (keys[rows] - bucket.first).astype(np.min_scalar_type(width))
    return rows[np.argsort(ranks, kind="stable")]


def _integers(column: pl.Series) -> HostArray:
    kind = column.dtype
    physical = column.cast(pl.Datetime("us", kind.time_zone)).to_physical() if isinstance(kind, pl.Datetime) else column
    whole = physical.cast(pl.Int64)
    return (whole.fill_null(_FIRST) if whole.null_count() else whole).to_numpy()
