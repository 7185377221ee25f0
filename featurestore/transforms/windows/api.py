"""Window features of any labels: the seam between retrieval and the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from featurestore.errors import TransformError
from featurestore.registry.types import Decimal, List, Vector
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.windows import columns
from featurestore.transforms.windows.collect import Collector
from featurestore.transforms.windows.columns import HostArray, Operand, polars_type
from featurestore.transforms.windows.functions import taken
from featurestore.transforms.windows.kernels import KERNELS
from featurestore.transforms.windows.layout import Layout, Ranges, buckets
from featurestore.transforms.windows.schema import WindowFeature, window_features
from featurestore.transforms.windows.values import Values, joined

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

BUCKET_ROWS: Final = 1 << 18
"""Events and labels worked on at a time, unless one key has more."""


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
) -> dict[str, pl.Series]:
    """The view's window features, and what it derives of them, for each label.

    Exact, by ``docs/semantics.md``: the same events give the same bits in whatever order they come, however they are cut into batches
    or buckets, and whether ``xp`` is NumPy or CuPy (sums and variances of floats included: ``exact.py``; only decayed sums
    depend on the order of addition, within 1e-12 of the sum of sizes). Time O((events + labels) log events),
    whatever the windows' width and however many events a key has; memory beyond the arguments and the answers: some 300 bytes for each row of
    the bucket at work.

    Args:
        events: the columns that the aggregations read, with ``__event_time``, ``__arrival_time`` and ``__sequence``; in any order.
        event_keys, label_keys: int64, the same number for the same key, from 0; a negative one is no key: such events are not there, and such labels
            find empty windows. So do keys that have no events.
        label_times: int64, microseconds since the epoch.
        as_known: count only events that had arrived by the instant.
        xp: the array namespace that computes: ``numpy`` or ``cupy``.
        bucket_rows: how many events and labels to work on at a time.

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
    labels = label_keys.size
    groups = _groups(view, events, features, labels)
    time, arrival, sequence = (_integers(events[name]) for name in (EVENT_TIME, ARRIVAL_TIME, SEQUENCE))
    keyed_events, keyed_labels = np.nonzero(event_keys >= 0)[0], np.nonzero(label_keys >= 0)[0]
    keys = int(max(event_keys.max(initial=-1), label_keys.max(initial=-1))) + 1
    with np.errstate(all="ignore"):
        for bucket in buckets(event_keys[keyed_events], label_keys[keyed_labels], keys, bucket_rows):
            rows, wanted = keyed_events[bucket.events], keyed_labels[bucket.labels]
            order = np.lexsort((label_times[wanted], label_keys[wanted]))  # neighbours look up neighbours
            wanted = wanted[order]
            layout = Layout(
                xp,
                xp.asarray(event_keys[rows] - bucket.first),
                *(xp.asarray(column[rows]) for column in (time, arrival, sequence)),
                xp.asarray(label_keys[wanted] - bucket.first),
                xp.asarray(label_times[wanted]),
                as_known=as_known,
            )
            sorted_rows = rows[columns.to_host(layout.order)]
            for group in groups:
                group.compute(layout, sorted_rows, wanted)
        answers = {feature.name: _finished(feature, groups, labels) for feature in features}
    return _with_derived(view, answers, labels)


@dataclass
class _Group:
    """Features that see the same values of one column."""

    mask: HostArray | None
    operand: Operand | None
    order: Operand | None
    skip_nan: bool
    collectors: dict[str, tuple[WindowFeature, Collector]] = field(default_factory=dict)

    def compute(self, layout: Layout, rows: HostArray, labels: HostArray) -> None:
        values = Values(layout, rows, self.mask, self.operand, skip_nan=self.skip_nan)
        joint: dict[tuple[Any, ...], Ranges] = {}
        for members in self._by_kernel().values():
            feature = members[0][0]
            windows = tuple((f.window, f.aggregation.bounds, f.aggregation.delay) for f, _ in members)
            if windows not in joint:
                joint[windows] = values.ranges(joined(layout.xp, [layout.ranges(*window) for window in windows]))
            answer = KERNELS[feature.function.name](values, joint[windows], self._parameters(values, feature))
            for i, (_, collector) in enumerate(members):
                collector.add(labels, answer.part(layout.xp, i, labels.size))

    def _by_kernel(self) -> dict[tuple[str, str], list[tuple[WindowFeature, Collector]]]:
        members: dict[tuple[str, str], list[tuple[WindowFeature, Collector]]] = {}
        for feature, collector in self.collectors.values():
            members.setdefault((feature.function.name, feature.aggregation.parameters), []).append((feature, collector))
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


def _groups(view: FeatureView, events: pl.DataFrame, features: Sequence[WindowFeature], labels: int) -> list[_Group]:
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
            key = (*part_key, j, where, aggregation.by, repr(feature.category), skip_nan, aggregation.order_by)
            if key not in groups:
                order = None if aggregation.order_by is None else columns.values(events[aggregation.order_by])
                groups[key] = _Group(_mask(view, events, feature, order), operand, order, skip_nan)
            collector = Collector(view.name, feature, labels, operand, column)
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


def _mask(view: FeatureView, events: pl.DataFrame, feature: WindowFeature, order: Operand | None) -> HostArray | None:
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


def _finished(feature: WindowFeature, groups: Sequence[_Group], labels: int) -> pl.Series:
    collectors = [group.collectors[feature.name][1] for group in groups if feature.name in group.collectors]
    parts = [collector.finish() for collector in collectors]
    if isinstance(feature.type, Vector) and feature.function.elementwise:
        present = np.logical_or.reduce([collector.valid for collector in collectors])
        answer = columns.vectors(parts, present)
    else:
        answer = parts[0]
    kind = polars_type(feature.type)
    answer = answer.cast(kind).alias(feature.name)
    if feature.empty is None:
        return answer
    empty = pl.Series(np.logical_and.reduce([collector.empty for collector in collectors]))
    value = pl.lit(pl.Series([feature.empty], dtype=kind))
    return pl.select(pl.when(empty).then(value).otherwise(answer).alias(feature.name)).to_series()


def _with_derived(view: FeatureView, answers: dict[str, pl.Series], labels: int) -> dict[str, pl.Series]:
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


def _integers(column: pl.Series) -> HostArray:
    kind = column.dtype
    physical = column.cast(pl.Datetime("us", kind.time_zone)).to_physical() if isinstance(kind, pl.Datetime) else column
    return physical.cast(pl.Int64).to_numpy()
