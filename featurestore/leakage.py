"""Does a view see the future? Asked of its own data, not of its text.

For a sample of keys and instants the view is computed three times: on the lake as it is, on the lake without what comes after
the instant, and on the lake where what comes after has other values (those of other rows, drawn at random). The answers at the
instant must be the same. What differs leaks, and the first difference of each feature is shown.

A sample can prove a leak, not its absence: it finds what its instants and keys show. The lint that ``plan`` runs
(:mod:`featurestore.registry.lint`) reads the text instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from featurestore.errors import RetrievalError, TransformError
from featurestore.features import ViewLookup, resolve_features
from featurestore.offline.inputs import Inputs, named_view
from featurestore.offline.labels import INSTANT
from featurestore.offline.lookups import Answer
from featurestore.offline.view_rows import open_rows
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE, from_micros
from featurestore.transforms import engines
from featurestore.transforms.on_demand import on_demand_fields
from featurestore.transforms.views import ComputedView, compute_view

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import FeatureView

_INSTANTS: Final = 6
_TOLERANCE: Final = 1e-9
"""Relative, of floats: a sum may add up in another order; ``docs/semantics.md``."""
_MEND: Final = 'look back only: shift(1), cum_sum, or aggregations=[Aggregation("column", "mean", windows=["7d"])]'
_TWICE: Final = "computing it again"


@dataclass(frozen=True, slots=True)
class Leak:
    """A feature whose answer changed with the future, by its first example.

    Args:
        change: what was done to the rows after the instant; or that nothing was, and the view does not repeat itself.
        as_known: whether the answer was asked for as it was known, so that rows that arrived later are the future too.
        before, after: the answer on the whole data, and without or with another future; a status where there is no value.
        differing: how many answers of the feature changed, of all kinds.
    """

    feature: str
    key: Mapping[str, Any]
    instant: str
    change: str
    as_known: bool
    before: Any
    after: Any
    differing: int = 1

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value!r}" for name, value in self.key.items())
        known = " as known" if self.as_known else ""
        return (
            f"{self.feature}: at {self.instant}{known} for {key} it is {self.before!r}, and {self.after!r} after {self.change} "
            f"({self.differing} answers differ)"
        )


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """What a check found.

    Args:
        pairs: keys with an instant that were asked about.
        compared: answers that were held against each other.
        as_known: whether answers as they were known were checked too; ``skipped`` says why not.
    """

    view: str
    seed: int
    pairs: int
    compared: int
    as_known: bool
    skipped: str
    leaks: tuple[Leak, ...]

    @property
    def success(self) -> bool:
        """Whether nothing leaks, as far as the sample shows."""
        return not self.leaks

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "success": self.success, "leaks": [asdict(leak) for leak in self.leaks]}

    def __str__(self) -> str:
        head = f"{self.view}: {self.pairs} keys and instants, {self.compared} answers compared"
        skipped = [f"answers as known were not checked: {self.skipped}"] if self.skipped else []
        if self.success:
            return "\n".join([f"{head}; none changed with the future.", *skipped])
        leaking = "1 feature leaks" if len(self.leaks) == 1 else f"{len(self.leaks)} features leak"
        return "\n".join([f"{head}; {leaking}:", *(f"  {leak}" for leak in self.leaks), *skipped, f"Hint: {_MEND}"])


def check_leakage(project: Project, view: str, *, sample: int = 100, seed: int = 0) -> LeakageReport:
    """Mutate and delete the future of a sample of keys and instants, and compare the view's answers.

    The future of an instant is every row with a later event time, of any key; of answers as they were known, every row that
    arrived later too. Nothing is written. Time: that of computing the view some 25 times, on all rows of its source.

    Args:
        view: the name of a feature view, with or without windows.
        sample: how many keys with an instant.
        seed: the same seed draws the same sample.

    Raises:
        NotFoundError: no feature view of that name.
        RetrievalError: its source has no rows yet, or ``sample`` is none.
    """
    if sample < 1:
        raise RetrievalError(f"a sample of {sample} shows nothing", hint="ask for one pair or more")
    inputs = Inputs.of(project)
    check = _Check(inputs, named_view(inputs.definitions, view), sample, np.random.default_rng(seed))
    check.run(as_known=False)
    skipped = ""
    try:
        check.run(as_known=True)
    except TransformError as error:
        skipped = error.message
    leaks = tuple(check.leaks.values())
    return LeakageReport(view, seed, check.pairs, check.compared, not skipped, skipped, leaks)


@dataclass(frozen=True)
class _Changed(Inputs):
    """A project's tables, the events of one source being others."""

    frame: pl.LazyFrame = field(default_factory=pl.LazyFrame)

    def events(self, view: FeatureView) -> pl.LazyFrame:  # noqa: ARG002
        return self.frame

    def open(self, view: FeatureView, *, until: int | None = None, engine: str = "auto") -> ComputedView:  # noqa: ARG002
        return compute_view(view, self.definitions.source(view.source), self.frame, engine=engine)


@dataclass(slots=True)
class _Check:
    inputs: Inputs
    view: FeatureView
    sample: int
    random: np.random.Generator
    leaks: dict[str, Leak] = field(default_factory=dict)
    pairs: int = 0
    compared: int = 0

    def run(self, *, as_known: bool) -> None:
        lookup, events = self._lookup(), self.inputs.events(self.view)
        labels = self._labels(lookup, events, as_known=as_known)
        whole = self._answer(lookup, events, labels, as_known=as_known)
        self.pairs += labels.height
        self._compare(lookup, labels, whole, self._answer(lookup, events, labels, as_known=as_known), _TWICE, as_known=as_known)
        unstable = set(self.leaks)
        for instant in labels[INSTANT].unique().sort():
            here = labels.with_row_index("row").filter(pl.col(INSTANT) == instant)
            part = replace(whole, values=whole.values[here["row"]], statuses=whole.statuses[here["row"]])
            for change, other in self._futures(events, instant, as_known=as_known):
                answer = self._answer(lookup, other, here.drop("row"), as_known=as_known)
                self._compare(lookup, here.drop("row"), part, answer, change, as_known=as_known, leave_out=unstable)

    def _lookup(self) -> ViewLookup:
        (lookup,) = resolve_features(
            self.inputs.definitions, self.view.name, view_fields=self.inputs.fields, on_demand_fields=on_demand_fields
        ).lookups
        return lookup

    def _answer(self, lookup: ViewLookup, events: pl.LazyFrame, labels: pl.DataFrame, *, as_known: bool) -> Answer:
        engine = engines.choose("cpu")
        inputs = _Changed(self.inputs.project, self.inputs.definitions, self.inputs.pinned, events)
        until: Any = labels[INSTANT].max()
        return open_rows(inputs, lookup, until=until, as_known=as_known, engine=engine).answer(labels, engine=engine)

    def _labels(self, lookup: ViewLookup, events: pl.LazyFrame, *, as_known: bool) -> pl.DataFrame:
        """Instants of rows drawn at random, where others come later, and keys that had rows by then."""
        inputs = _Changed(self.inputs.project, self.inputs.definitions, self.inputs.pinned, events)
        opened = open_rows(inputs, lookup, until=None, as_known=as_known, engine=engines.choose("cpu")).frame
        names = [key.name for key in self.view.join_keys]
        rows = opened.select(*names, EVENT_TIME, ARRIVAL_TIME).drop_nulls([*names, EVENT_TIME]).collect()
        if rows.is_empty():
            raise RetrievalError(f"view {self.view.name!r} has no rows to check", hint="ingest its source first")
        happened = rows[EVENT_TIME].to_physical().to_numpy()
        moments = happened
        if as_known:
            moments = np.maximum(happened, rows[ARRIVAL_TIME].fill_null(rows[EVENT_TIME]).to_physical().to_numpy())
        candidates = np.flatnonzero(moments < moments.max()) if moments.min() < moments.max() else np.arange(moments.size)
        drawn = self.random.choice(candidates, min(_INSTANTS, self.sample, candidates.size), replace=False)
        instants = np.unique(moments[drawn])
        parts = []
        for number, instant in enumerate(instants):
            count = len(range(number, self.sample, instants.size))
            past = np.flatnonzero(happened <= instant)
            chosen = rows[self.random.choice(past, min(count, past.size), replace=False)]
            parts.append(chosen.select(*names, pl.lit(int(instant), dtype=pl.Int64).alias(INSTANT)).unique(maintain_order=True))
        columns = dict(zip(names, lookup.key_columns, strict=True))
        return pl.concat(parts).rename(columns)

    def _futures(self, events: pl.LazyFrame, instant: int, *, as_known: bool) -> Iterator[tuple[str, pl.LazyFrame]]:
        """The events without what comes after the instant, and with other values there."""
        source = self.inputs.definitions.source(self.view.source)
        moment = pl.lit(instant, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        late = pl.col(source.event_time) > moment
        if as_known:
            late = late | (pl.col(ARRIVAL_TIME) > moment)
        late = late.fill_null(False)
        yield "deleting what comes later", events.filter(~late)
        fixed = {source.event_time, source.arrival_time, source.sequence, ARRIVAL_TIME, SEQUENCE, BATCH}
        fixed |= {key.name for key in self.view.join_keys}
        seed = int(self.random.integers(1 << 32))
        yield (
            "changing what comes later",
            events.with_columns(
                pl.when(late).then(pl.col(name).shuffle(seed=seed)).otherwise(pl.col(name)).alias(name)
                for name in events.collect_schema().names()
                if name not in fixed
            ),
        )

    def _compare(
        self,
        lookup: ViewLookup,
        labels: pl.DataFrame,
        before: Answer,
        after: Answer,
        change: str,
        *,
        as_known: bool,
        leave_out: set[str] | None = None,
    ) -> None:
        keys = labels.select(lookup.key_columns).rows()
        for feature in lookup.features:
            if feature.name in (leave_out or ()):
                continue
            column = lookup.column(feature.name)
            for row, (left, right) in enumerate(zip(_texts(before, column), _texts(after, column), strict=True)):
                self.compared += 1
                if not _same(left, right):
                    key = dict(zip((k.name for k in self.view.join_keys), keys[row], strict=True))
                    instant = from_micros(labels[INSTANT][row]).isoformat()
                    found = self.leaks.get(feature.name)
                    self.leaks[feature.name] = (
                        replace(found, differing=found.differing + 1)
                        if found
                        else Leak(feature.name, key, instant, change, as_known, left, right)
                    )


def _texts(answer: Answer, column: str) -> list[Any]:
    """Values, and statuses where there is none."""
    values, statuses = answer.values[column].to_list(), answer.statuses[column].to_list()
    return [status if value is None else value for value, status in zip(values, statuses, strict=True)]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=_TOLERANCE)
    return type(left) is type(right) and bool(left == right)
