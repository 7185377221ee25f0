"""Windows online: the blocks of all entities of a request decoded into one frame, and the very kernels of training run on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from featurestore.codec.blocks import BlockCodec
from featurestore.errors import OnlineStoreError, RequestError
from featurestore.online.response import NULL, PRESENT, Column, Status
from featurestore.time import format_duration, parse_duration, to_micros
from featurestore.transforms.windows.api import compute_windows
from featurestore.transforms.windows.needs import reach

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


@dataclass(frozen=True, slots=True)
class WindowRead:
    """How one version of a view of windows is answered."""

    view: FeatureView
    codec: BlockCodec
    reach: int | None

    @classmethod
    def of(cls, served: ServedWindows) -> WindowRead:
        """From what is served."""
        return cls(served.view, BlockCodec(served.columns), reach(served.view))

    def columns(
        self, features: Sequence[Field], blocks: Sequence[bytes | None], instant: int, now: int
    ) -> Mapping[str, Column]:
        """The features of entities at an instant, from their blocks; None for an entity without events, whose windows are empty.

        Raises:
            RequestError: ``instant`` lies further back than events are kept for.
            UnknownRowError: a block has other columns.
        """
        self._check_within(instant, now)
        header = self.codec.header
        if any(block is not None and not block.startswith(header) for block in blocks):
            raise UnknownRowError
        decoded = self.codec.decode(blocks)
        self._check_floor(decoded.floor, instant)
        count = len(blocks)
        found = compute_windows(
            self.view,
            decoded.events,
            decoded.keys,
            np.arange(count, dtype=np.int64),
            np.full(count, instant, dtype=np.int64),
            threads=1,
        )
        return {field.name: _column(field, found[field.name].to_list()) for field in features if field.name in found}

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


def _column(field: Field, values: list[object]) -> Column:
    statuses: list[Status] = [PRESENT] * len(values)
    if None in values:
        statuses = [NULL if value is None else PRESENT for value in values]
    return Column(field, values, statuses, [None] * len(values))
