"""Windows online: the blocks of all entities of a request decoded together, and answered as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.codec import decode_order
from featurestore.codec.blocks import BlockCodec
from featurestore.errors import OnlineStoreError, RequestError
from featurestore.online.block_forms import BlockForms, HeldTiles, TiledForm
from featurestore.online.conditions import NotPlainError
from featurestore.online.plain_features import is_plain
from featurestore.online.response import NULL, PRESENT, SAWTOOTH, Column, Status
from featurestore.online.short_windows import ShortWindows, is_short
from featurestore.time import format_duration, from_micros, to_micros
from featurestore.transforms.windows.api import compute_windows, with_derived
from featurestore.transforms.windows.columns import polars_type
from featurestore.transforms.windows.merged import Events, compute_merged
from featurestore.transforms.windows.needs import reach
from featurestore.transforms.windows.ranges import LOWEST
from featurestore.transforms.windows.schema import WindowFeature
from featurestore.transforms.windows.tiles import longest_tail, slack

if TYPE_CHECKING:
    from featurestore.online.plain_plan import Found
    from featurestore.online.plain_windows import PlainWindows
    from featurestore.online.serving import ServedWindows
    from featurestore.registry.definitions import FeatureView
    from featurestore.registry.records import Field

_FEW: Final = 128
"""Up to so many features that are answered window by window, times entities, the kernels take longer to begin."""
_Named: TypeAlias = tuple[list[str], list[list[Any]], list[list[Status]]]
"""Features, their values and their statuses, by entity."""
_MARKS: Final[dict[Status, Status]] = {PRESENT: SAWTOOTH}
OLDEST: Final = to_micros(datetime(1, 1, 1, tzinfo=UTC))


class UnknownRowError(Exception):
    """A row of a schema that the plan does not know."""


def slack_of(view: FeatureView) -> int:
    """How much longer than the windows reach events are kept: so far back ``at=`` goes, and clocks may differ so much."""
    return slack((window, aggregation.delay) for aggregation in view.aggregations for window in aggregation.windows)


def floor_of(view: FeatureView, written_at: int) -> int:
    """Events before it are left out of a block that is written at an instant; microseconds."""
    far = reach(view)
    if far is None:
        return OLDEST
    # Where sawtooth windows may have to stand in for sliding ones, their tails are needed too.
    tail = longest_tail(view) if view.on_overflow == "sawtooth" else 0
    return max(written_at - far - tail - slack_of(view), OLDEST)


@dataclass(frozen=True, slots=True)
class _FormReading:
    """How the features asked for are answered from blocks of one form.

    Args:
        plain: those that need no kernels.
        others: those that do.
        slack: how long before its writing a block answers.
    """

    form: TiledForm
    plain: PlainWindows
    features: Sequence[WindowFeature]
    others: Sequence[WindowFeature]
    slack: int


@dataclass(frozen=True)
class WindowRead:
    """How some features of one version of a view of windows are answered.

    Args:
        view: the version that is served.
        forms: of its blocks.
        features: those asked for.
    """

    view: FeatureView
    forms: BlockForms
    features: tuple[Field, ...]

    @classmethod
    def of(cls, served: ServedWindows, features: Sequence[Field]) -> WindowRead:
        """From what is served."""
        return cls(served.view, BlockForms(served.view, served.columns), tuple(features))

    @property
    def codec(self) -> BlockCodec:
        """Of blocks of events."""
        return self.forms.events

    @cached_property
    def reach(self) -> int | None:
        """How far back the view's windows see."""
        return reach(self.view)

    @cached_property
    def slack(self) -> int:
        """How far back ``at=`` may lie."""
        return slack_of(self.view)

    @cached_property
    def _wanted(self) -> frozenset[str]:
        """The names of what has to be computed: all, where a derived feature is asked for."""
        names = {field.name for field in self.features}
        derived = {name for name, _ in self.view.derived}
        return frozenset(feature.name for feature in self.forms.features) if names & derived else frozenset(names)

    @cached_property
    def _derives(self) -> bool:
        return any(field.name == name for field in self.features for name, _ in self.view.derived)

    @cached_property
    def _plain_windows(self) -> PlainWindows:
        from featurestore.online.plain_windows import PlainWindows  # compiles

        return PlainWindows(self._plain, self.codec)

    @cached_property
    def _plain(self) -> list[WindowFeature]:
        """What needs no kernels of the features asked for."""
        return [feature for feature in self.forms.features if feature.name in self._wanted and is_plain(feature)]

    @cached_property
    def _all_plain(self) -> bool:
        plain = {feature.name for feature in self._plain}
        return all(field.name in plain for field in self.features)

    @cached_property
    def _fields(self) -> dict[str, Field]:
        return {field.name: field for field in self.features}

    @cached_property
    def _plain_fields(self) -> list[Field]:
        return [self._fields[name] for name in self._plain_windows.names]

    @cached_property
    def _short(self) -> ShortWindows:
        rest = self._wanted - {feature.name for feature in self._plain}
        return ShortWindows([feature for feature in self.forms.features if feature.name in rest], self.codec.layout)

    @cached_property
    def _all_light(self) -> bool:
        """Whether all that is asked for can be had without kernels."""
        return all(is_plain(feature) or is_short(feature) for feature in self.forms.features if feature.name in self._wanted)

    @cached_property
    def _marked(self) -> frozenset[str]:
        """The features whose sliding window is a sawtooth in blocks of that form, and what is derived of them."""
        marked = {feature.name for feature in self.forms.features if feature.window.kind == "sliding"}
        for name, expression in self.view.derived:
            if marked & set(expression.polars().meta.root_names()):
                marked.add(name)
        return frozenset(marked)

    def columns(self, blocks: Sequence[bytes | None], instant: int, now: int) -> dict[str, Column]:
        """The features of entities at an instant, from their blocks; no block is no events.

        Raises:
            RequestError: ``instant`` lies further back than events are kept for.
            UnknownRowError: a block has other columns.
        """
        self._check_within(instant, now)
        header = self.forms.events.header
        tiled = [i for i, block in enumerate(blocks) if block is not None and not block.startswith(header)]
        toothed = self._of_form(self.forms.sawtooth, blocks, tiled)
        if len(toothed) + len(self._of_form(self.forms.exact, blocks, tiled)) < len(tiled):
            raise UnknownRowError
        if not tiled:
            return self._of_events(blocks, instant)
        return self._tiled_columns(blocks, toothed, instant)

    @staticmethod
    def _of_form(form: TiledForm | None, blocks: Sequence[bytes | None], places: Sequence[int]) -> list[int]:
        if form is None or not places:
            return []
        return [i for i in places if (block := blocks[i]) is not None and block.startswith(form.codec.header)]

    def _columns(self, found: Mapping[str, Sequence[Any]], count: int) -> dict[str, Column]:
        times: list[int | None] = [None] * count
        present: list[Status] = [PRESENT] * count
        return {
            field.name: Column(field, values, _statuses(values, present), times)
            for field in self.features
            if (values := found.get(field.name)) is not None
        }

    def _tiled_columns(self, blocks: Sequence[bytes | None], toothed: Sequence[int], instant: int) -> dict[str, Column]:
        count = len(blocks)
        if not toothed and self.forms.exact is not None:
            return self._named(self._merged(self.forms.exact, blocks, instant), count)
        exact = sorted(set(range(count)) - set(toothed))
        found: dict[str, tuple[list[Any], list[Status]]] = {}
        for form, places in ((self.forms.exact, exact), (self.forms.sawtooth, toothed)):
            if form is None or not places:
                continue
            names, *answers = self._merged(form, [blocks[i] for i in places], instant)
            for name, *mine in zip(names, *answers, strict=True):
                whole = found.setdefault(name, ([None] * count, [PRESENT] * count))
                for all_of_them, some in zip(whole, mine, strict=True):
                    for i, one in zip(places, some, strict=True):
                        all_of_them[i] = one
        values, statuses = ([answers[k] for answers in found.values()] for k in range(2))
        return self._named((list(found), values, statuses), count)

    def _named(self, found: _Named, count: int) -> dict[str, Column]:
        names, values, statuses = found
        asked = self._fields
        if len(names) > len(asked):
            keep = [name in asked for name in names]
            names, values, statuses = [*compress(names, keep)], [*compress(values, keep)], [*compress(statuses, keep)]
        return _columns(names, [asked[name] for name in names], (values, statuses), count)

    def _merged(self, form: TiledForm, blocks: Sequence[bytes | None], instant: int) -> _Named:
        """The features of entities whose blocks have a form, or are events alone."""
        reading = self._reading(form)
        names, others = reading.plain.names, reading.others
        found: Found = [], []
        try:
            plain = reading.plain.answer(blocks, instant)
        except NotPlainError:
            names, others = [], reading.features
        else:
            self._check_written(plain.written_at, reading, instant)
            self._check_floor(plain.floor, instant)
            found = plain.found
        values, statuses = found
        if others or self._derives:
            named = dict(zip(names, values, strict=True))
            if others:
                named |= self._by_kernels(reading, others, blocks, instant)
            if self._derives:
                named = self._with_derived(named)
            names, values = list(named), list(named.values())
            present: list[Status] = [PRESENT] * len(blocks)
            statuses = [_statuses(answers, present) for answers in values]
        if form is self.forms.sawtooth:
            statuses = [
                [_MARKS.get(status, status) for status in mine] if name in self._marked else mine
                for name, mine in zip(names, statuses, strict=True)
            ]
        return names, values, statuses

    def _by_kernels(
        self, reading: _FormReading, features: Sequence[WindowFeature], blocks: Sequence[bytes | None], instant: int
    ) -> dict[str, list[Any]]:
        """The values of features, by the kernels that training uses."""
        form = reading.form
        header = form.codec.header
        written = [decode_order(block)[1] for block in blocks if block is not None and block.startswith(header)]
        self._check_written(max(written, default=LOWEST), reading, instant)
        tiles, tails = form.codec.decode(blocks)
        decoded = self.codec.decode(tails)
        self._check_floor(decoded.floor, instant)
        events = Events(decoded.events, np.asarray(decoded.counts), decoded.times)
        answers = compute_merged(self.view, features, HeldTiles(tiles, form.states), events, instant)
        return {name: series.to_list() for name, series in answers.items()}

    def _reading(self, form: TiledForm) -> _FormReading:
        if form.name not in self._readings:
            wanted = [feature for feature in form.plan.features if feature.name in self._wanted]
            from featurestore.online.plain_windows import PlainWindows  # compiles

            plain = PlainWindows([feature for feature in wanted if is_plain(feature)], self.codec, form)
            lag = slack((feature.window, feature.aggregation.delay) for feature in form.plan.features)
            others = [feature for feature in wanted if not is_plain(feature)]
            self._readings[form.name] = _FormReading(form, plain, wanted, others, lag)
        return self._readings[form.name]

    @cached_property
    def _readings(self) -> dict[str, _FormReading]:
        return {}

    def _light(self, blocks: Sequence[bytes | None], instant: int) -> Mapping[str, Sequence[Any]]:
        """The features asked for, without kernels."""
        found: dict[str, Sequence[Any]] = {}
        if self._plain:
            answers = self._plain_windows.answer(blocks, instant)
            found = dict(zip(self._plain_windows.names, answers.found[0], strict=True))
        found |= self._short.answer(self.codec.decode(blocks), instant)
        if not self._derives:
            return found
        return self._with_derived(found)

    def _with_derived(self, found: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        kinds = {feature.name: polars_type(feature.type) for feature in self.forms.features}
        series = {name: pl.Series(name, values, kinds[name]) for name, values in found.items()}
        return {name: values.to_list() for name, values in with_derived(self.view, series).items()}

    def _of_events(self, blocks: Sequence[bytes | None], instant: int) -> dict[str, Column]:
        try:
            if self._all_plain:
                plain = self._plain_windows.answer(blocks, instant)
                self._check_floor(plain.floor, instant)
                return _columns(self._plain_windows.names, self._plain_fields, plain.found, len(blocks))
            self._check_floor(self.codec.decode(blocks).floor, instant)
            if self._all_light and len(blocks) * len(self._short.features) <= _FEW:
                return self._columns(self._light(blocks, instant), len(blocks))
        except NotPlainError:
            pass
        decoded = self.codec.decode(blocks)
        self._check_floor(decoded.floor, instant)
        count = len(decoded.counts)
        answers = compute_windows(
            self.view,
            decoded.events,
            decoded.keys,
            np.arange(count, dtype=np.int64),
            np.full(count, instant, dtype=np.int64),
            threads=1,
        )
        return self._columns({name: values.to_list() for name, values in answers.items()}, count)

    def _check_within(self, instant: int, now: int) -> None:
        if instant < now - self.slack:
            ago = timedelta(microseconds=now - instant)
            raise RequestError(
                f"at= is {ago} ago, and feature view {self.view.name!r} keeps what it needs online for"
                f" {format_duration(self.slack)} back",
                hint="get_historical_features answers any instant",
            )

    def _check_written(self, written_at: int, reading: _FormReading, instant: int) -> None:
        oldest = written_at - reading.slack
        if instant < oldest:
            ago = timedelta(microseconds=oldest - instant)
            raise OnlineStoreError(
                f"feature view {self.view.name!r}: what is kept of an entity answers from"
                f" {from_micros(oldest):%Y-%m-%d %H:%M:%S%z} on, {ago} after the instant asked about",
                hint="ask without at=, or about a later instant; if the clocks of the machines differ, set them right",
            )

    def _check_floor(self, floor: int, instant: int) -> None:
        if self.reach is not None and max(instant - self.reach, OLDEST) < floor:
            raise OnlineStoreError(
                f"feature view {self.view.name!r}: a block was written by a clock that is ahead of this one by more than"
                f" {format_duration(self.slack)}",
                hint="set the clocks of the machines right, then run `featurestore materialize --full`",
            )


def _statuses(values: Sequence[Any], present: list[Status]) -> list[Status]:
    if None not in values:
        return present
    return [NULL if value is None else status for value, status in zip(values, present, strict=True)]


def _columns(names: Sequence[str], fields: Sequence[Field], found: Found, count: int) -> dict[str, Column]:
    times: list[int | None] = [None] * count
    # Made without a call of Python's for each: there are hundreds.
    columns = map(tuple.__new__, repeat(Column), zip(fields, *found, repeat(times), strict=False))
    return dict(zip(names, columns, strict=False))
