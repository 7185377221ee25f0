"""Windows online: the blocks of all entities of a request decoded together, and answered as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.codec.blocks import BlockCodec, DecodedBlocks
from featurestore.errors import OnlineStoreError, RequestError
from featurestore.online.careful import NotPlainError
from featurestore.online.response import NULL, PRESENT, Column, Status
from featurestore.online.thin_windows import Found, ThinWindows, is_thin
from featurestore.time import format_duration, parse_duration, to_micros
from featurestore.transforms.windows.api import compute_windows
from featurestore.transforms.windows.needs import reach
from featurestore.transforms.windows.schema import WindowFeature, window_features

if TYPE_CHECKING:
    from featurestore.online.serving import ServedWindows
    from featurestore.registry.definitions import FeatureView
    from featurestore.registry.records import Field

_LEAST_SLACK: Final = parse_duration("5m")
OLDEST: Final = to_micros(datetime(1, 1, 1, tzinfo=UTC))


class UnknownRowError(Exception):
    """A row of a schema that the plan does not know."""


def slack(reach_of_view: int) -> int:
    """How much longer than the windows reach events are kept: so far back ``at=`` goes, and clocks may differ so much.

    An eighth of the reach, at least five minutes.
    """
    return max(_LEAST_SLACK, reach_of_view // 8)


def floor_of(view: FeatureView, written_at: int) -> int:
    """Events before it are left out of a block that is written at an instant; microseconds."""
    far = reach(view)
    return OLDEST if far is None else max(written_at - far - slack(far), OLDEST)


@dataclass(frozen=True)
class WindowRead:
    """How some features of one version of a view of windows are answered.

    Args:
        view: the version that is served.
        features: those asked for.
    """

    view: FeatureView
    codec: BlockCodec
    features: tuple[Field, ...]

    @classmethod
    def of(cls, served: ServedWindows, features: Sequence[Field]) -> WindowRead:
        """From what is served."""
        return cls(served.view, BlockCodec(served.columns), tuple(features))

    @cached_property
    def reach(self) -> int | None:
        """How far back the view's windows see."""
        return reach(self.view)

    @cached_property
    def _thin(self) -> ThinWindows:
        return ThinWindows(self._plain, self.codec.layout)

    @cached_property
    def _plain(self) -> list[WindowFeature]:
        """What needs no kernels of the features asked for."""
        schema = self.codec.decode([]).events.to_arrow().schema
        wanted = {field.name for field in self.features}
        return [feature for feature in window_features(self.view, schema) if feature.name in wanted and is_thin(feature)]

    @cached_property
    def _all_plain(self) -> bool:
        known = {name for name, _ in self.view.derived}
        plain = {feature.name for feature in self._plain} - known
        return all(field.name in plain for field in self.features)

    def columns(self, blocks: Sequence[bytes | None], instant: int, now: int) -> dict[str, Column]:
        """The features of entities at an instant, from their blocks; no block is no events.

        Raises:
            RequestError: ``instant`` lies further back than events are kept for.
            UnknownRowError: a block has other columns.
        """
        self._check_within(instant, now)
        header = self.codec.header
        for block in blocks:
            if block is not None and not block.startswith(header):
                raise UnknownRowError
        decoded = self.codec.decode(blocks)
        self._check_floor(decoded.floor, instant)
        found = self._answer(decoded, instant)
        times: list[int | None] = [None] * len(blocks)
        return {field.name: Column(field, *found[field.name], times) for field in self.features if field.name in found}

    def _answer(self, decoded: DecodedBlocks, instant: int) -> Mapping[str, Found]:
        if self._all_plain:
            try:
                return self._thin.answer(decoded, instant)
            except NotPlainError:
                pass
        count = len(decoded.counts)
        found = compute_windows(
            self.view,
            decoded.events,
            decoded.keys,
            np.arange(count, dtype=np.int64),
            np.full(count, instant, dtype=np.int64),
            threads=1,
        )
        present: list[Status] = [PRESENT] * count
        answers: dict[str, Found] = {}
        for field in self.features:
            if field.name in found:
                values = found[field.name].to_list()
                answers[field.name] = values, _statuses(values, present)
        return answers

    def _check_within(self, instant: int, now: int) -> None:
        if self.reach is not None and instant < now - slack(self.reach):
            ago = timedelta(microseconds=now - instant)
            raise RequestError(
                f"at= is {ago} ago, and feature view {self.view.name!r} keeps what it needs online for"
                f" {format_duration(slack(self.reach))} back",
                hint="get_historical_features answers any instant",
            )

    def _check_floor(self, floor: int, instant: int) -> None:
        if self.reach is not None and max(instant - self.reach, OLDEST) < floor:
            raise OnlineStoreError(
                f"feature view {self.view.name!r}: a block was written by a clock that is ahead of this one by more than"
                f" {format_duration(slack(self.reach))}",
                hint="set the clocks of the machines right, then run `featurestore materialize --full`",
            )


def _statuses(values: list[Any], present: list[Status]) -> list[Status]:
    return [NULL if value is None else PRESENT for value in values] if None in values else present
