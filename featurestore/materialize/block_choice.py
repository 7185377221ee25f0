"""Which form each key's block takes: the smallest exact one, or sawtooth tiles where none is small enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.online.block_forms import BlockForms, TiledForm

_Array: TypeAlias = np.ndarray[Any, Any]
_KEYS_AT_ONCE: Final = 4_096


@dataclass(frozen=True)
class Chosen:
    """The forms of the blocks of some keys.

    Args:
        tiled: the blocks that are not of events alone, by the place of their key.
        too_large: sizes of the smallest blocks of keys that are too large in every form allowed, by place.
    """

    tiled: dict[int, bytes]
    too_large: dict[int, int]


def choose(forms: BlockForms, events: pl.DataFrame, starts: _Array, *, version: int, written_at: int) -> Chosen:
    """Choose the form of each key's block; the same events, version and instant give the same choice.

    Args:
        events: ``__event_time`` and the columns, sorted by key, event time, arrival time and sequence.
        starts: the first event of each key, and one more: the number of events.
    """
    chosen = Chosen({}, {})
    for at in range(0, starts.size - 1, _KEYS_AT_ONCE):
        bounds = starts[at : at + _KEYS_AT_ONCE + 1]
        part = events[int(bounds[0]) : int(bounds[-1])]
        _choose(forms, part, bounds - bounds[0], at, chosen, version=version, written_at=written_at)
    return chosen


def _choose(
    forms: BlockForms, events: pl.DataFrame, starts: _Array, at: int, chosen: Chosen, *, version: int, written_at: int
) -> None:
    sizes = forms.events.sizes(events, starts)
    limit = forms.view.max_block_bytes
    if forms.exact is not None:
        for key, block in _encoded(forms.exact, events, starts, sizes, version=version, written_at=written_at):
            if len(block) < sizes[key]:
                sizes[key] = len(block)
                chosen.tiled[at + key] = block
    over = np.nonzero(sizes > limit)[0]
    if over.size and forms.sawtooth is not None:
        bounds = np.where(np.isin(np.arange(sizes.size), over), sizes, 0)
        for key, block in _encoded(forms.sawtooth, events, starts, bounds, version=version, written_at=written_at):
            if len(block) <= limit:
                sizes[key] = len(block)
                chosen.tiled[at + key] = block
    for key in np.nonzero(sizes > limit)[0].tolist():
        chosen.tiled.pop(at + key, None)
        chosen.too_large[at + key] = int(sizes[key])


def _encoded(
    form: TiledForm, events: pl.DataFrame, starts: _Array, sizes: _Array, *, version: int, written_at: int
) -> Iterator[tuple[int, bytes]]:
    """The tiled blocks of the keys for which they might be smaller than ``sizes``."""
    tiling = form.plan.tiling(written_at)
    if tiling is None:
        return
    wanted = np.nonzero(form.least_size(tiling, events, starts) < sizes)[0]
    if not wanted.size:
        return
    counts = np.diff(starts)[wanted]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    rows = np.arange(int(bounds[-1])) + np.repeat(starts[wanted] - bounds[:-1], counts)
    blocks = form.encode(tiling, events[rows], bounds, version=version, written_at=written_at)
    yield from zip(wanted.tolist(), blocks, strict=True)
