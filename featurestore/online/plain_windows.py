"""The plain features of a view, answered from blocks by compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from featurestore.errors import OnlineStoreError
from featurestore.online.compiled import records
from featurestore.online.compiled.windows import answer_windows
from featurestore.online.conditions import NotPlainError
from featurestore.online.plain_plan import Found, PlainPlan

if TYPE_CHECKING:
    from featurestore.codec.blocks import BlockCodec
    from featurestore.online.block_forms import TiledForm
    from featurestore.transforms.windows.schema import WindowFeature

_NOTHING_HELD: Final = np.zeros((1, 0), dtype=bool)
_OLDEST: Final = -(1 << 63)


@dataclass(frozen=True, slots=True)
class PlainAnswers:
    """Answers to plain features.

    Args:
        found: the values of each of them and their statuses, by block.
        floor: the greatest of the blocks.
        written_at: when the last of those with tiles was written.
    """

    found: Found
    floor: int
    written_at: int


class PlainWindows:
    """Plain features of one view.

    Args:
        features: all of them plain.
        codec: of the view's blocks of events.
        form: of its blocks of tiles; None where all blocks are of events.
    """

    def __init__(self, features: Sequence[WindowFeature], codec: BlockCodec, form: TiledForm | None = None) -> None:
        self._codec, self._form, layout = codec, form, codec.layout
        self._plan = PlainPlan(features, layout, form)
        self._layout = np.array([layout.times_start, layout.width, len(layout.names), len(layout.variable)])
        self._header = np.frombuffer(b"" if form is None else form.codec.header, dtype=np.uint8).copy()
        tiles = None if form is None else form.codec.layout
        self._tiles = np.array(
            [0, 0, 0, 0] if tiles is None else [tiles.states, len(tiles.fixed), len(tiles.variable), tiles.head]
        )
        self._columns = np.zeros((0, 2), dtype=np.int64)
        if tiles is not None:
            states = [*tiles.fixed_states.tolist(), *tiles.variable_states.tolist()]
            self._columns = np.array([states, [*tiles.widths.tolist(), *(0 for _ in tiles.variable)]]).T.copy()
        self.names = self._plan.answers.names
        """The features, in the order of their answers."""

    def answer(self, blocks: Sequence[bytes | None], instant: int) -> PlainAnswers:
        """The answers, by block.

        Raises:
            OnlineStoreError: a block is cut short.
            NotPlainError: the kernels have to answer.
        """
        plan, features = self._plan, len(self.names)
        if not features:
            return PlainAnswers(([], []), _OLDEST, _OLDEST)
        held = _NOTHING_HELD
        if plan.conditions:
            events = blocks if self._form is None else self._form.codec.decode(blocks)[1]
            held = np.array(plan.conditions.kept(self._codec.decode(events)), dtype=bool)
        addresses = np.array([0 if block is None else pa.py_buffer(block).address for block in blocks])
        sizes = np.array([0 if block is None else len(block) for block in blocks])
        numbers = np.zeros((features, len(blocks)))
        missing = np.empty((features, len(blocks)), dtype=np.uint8)
        gaps, facts = np.zeros(features, dtype=np.int64), np.array([_OLDEST, _OLDEST])
        came = answer_windows(
            addresses, sizes, self._layout, instant, plan.windows, plan.parts, plan.cells, held,
            self._header, self._tiles, self._columns, plan.kept,
            numbers, numbers.view(np.int64), missing, gaps, facts,
        )  # fmt: skip
        if came == records.CUT:
            raise OnlineStoreError("a block of events cannot be read", hint="it was cut, or another writer made it")
        if came == records.NOT_PLAIN:
            raise NotPlainError
        floor, written_at = facts.tolist()
        return PlainAnswers(plan.answers.of(numbers, missing, gaps), floor, written_at)
