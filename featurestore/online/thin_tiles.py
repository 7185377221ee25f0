"""The plain functions of numbers over tiles and the events since, all entities of a request at once: a few numpy calls.

What ``thin_windows.py`` is to blocks of events. Items of tiles of one type lie side by side in a block (``tiled_blocks.py``),
so that all states, windows and entities are reduced in one call for each of sums, minima and maxima; so are the events, and
both are merged. What is not known to be exact is computed once more from items and events (``careful_merged``):

* integers, if the sum of the sizes of a window's items and values, or an answer, is not below 2^53;
* a sum ``S`` of ``n`` floats, items and values together, if its rounding error, at most ``n * u * sum(|x|)`` with ``u = 2^-53``,
  may be above 5e-10 of it;
* a variance: ``V = Q - S^2 / m`` of ``m`` values, ``Q`` the sum of squares. By the Cauchy-Schwarz inequality ``sum(|x|)^2`` of
  items is at most ``m * Q``, so that ``V`` has an error of at most ``(3 n + 12) * u * Q``, which must be below 5e-10 of ``V``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.online.careful import careful_merged
from featurestore.online.kept_items import Items, ItemSource, SquareSource, Tables
from featurestore.online.recent_values import RecentValues
from featurestore.online.thin_plan import Found, ThinPlan
from featurestore.online.thin_rows import COUNT, FIRST, FUNCTIONS, LAST, MAX, MEAN, MIN, STD, SUM, VAR, Part, Patches
from featurestore.online.window_edges import Array, edges_at
from featurestore.transforms.windows.ranges import prefix
from featurestore.transforms.windows.tile_states import STATES, states

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.codec.tiled_blocks import DecodedTiles
    from featurestore.online.block_forms import TiledForm
    from featurestore.transforms.windows.schema import WindowFeature

_ROUNDING: Final = 2.0**-53 / 5e-10
"""The unit of rounding, as a share of the error that is allowed."""
_TINY: Final = 1e-280
"""Squares of less may have lost digits."""
_EXACT: Final = float(1 << 53)
_TOTALS: Final = ("sum", "mean")
_SPREADS: Final = ("var", "std")
_PLACED: Final = ("min", "max", "first", "last")


class ThinTiles:
    """Plain features of one form of blocks.

    Args:
        features: all of them thin.
        layout: of the blocks of events.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout, form: TiledForm) -> None:
        self._plan = ThinPlan(features, layout)
        self.names = self._plan.answers.names
        """The features, in the order of their answers."""
        slots: dict[tuple[str, int], int] = {}
        self._asked: dict[tuple[int, int], set[str]] = {}
        for feature, part, function, window in self._plan.cells:
            self._asked.setdefault((part.place, window), set()).add(function)
            for state in states(feature, None):
                if state.key in form.states:
                    slots[state.kind, part.place] = form.states[state.key]
        tiles = form.codec.layout
        self._sources = [
            source
            for number in range(len(tiles.groups))
            if (source := ItemSource(tiles, number, slots)).states
        ]  # fmt: skip
        self._squares = SquareSource(slots)
        parts = self._plan.parts
        self._floats = np.array([not part.whole for part in parts])
        self._wide = [part.place for part in parts if part.wide]
        self._totals = np.array([not part.functions.isdisjoint(_TOTALS) for part in parts])
        self._spreads = [part.place for part in parts if not part.functions.isdisjoint(_SPREADS)]
        self._conditions = [condition for condition, members in self._plan.groups for _ in members]

    def answer(self, tiles: DecodedTiles, events: DecodedBlocks, instant: int) -> Found:
        """The values of each of :attr:`names`, and their statuses, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        plan = self._plan
        if not plan.parts:
            return [], []
        edges = edges_at(plan.windows, instant)
        shape = (len(events.counts), len(plan.parts), len(plan.windows))
        with np.errstate(all="ignore"):
            tables = Tables(shape)
            places = _places(tiles.starts, prefix(np, tiles.counts), edges.instants)
            held = [source.held(tiles, places, edges.pairs, tables) for source in (*self._sources, self._squares)]
            cuts = np.stack([events.times_of(i).searchsorted(edges.instants) for i in range(shape[0])])
            recent = RecentValues(events, plan, self._conditions, cuts, edges)
            recent.merge_into(tables, squares=bool(self._spreads))
            results = np.zeros((len(FUNCTIONS), *shape[1:], shape[0]))
            patches = self._finished(tables, results.transpose(0, 3, 1, 2), _Careful(held, recent, tables))
            return plan.answers.of(results, patches)

    def _finished(self, tables: Tables, results: Array, careful: _Careful) -> Patches:
        """Put the answers into their places; those that these cannot hold exactly come back."""
        results[COUNT] = counts = tables.counts
        results[SUM] = tables.sums
        results[MEAN] = tables.sums / counts
        results[MIN] = tables.least + 0.0  # -0.0 is 0.0
        results[MAX] = tables.greatest + 0.0
        results[FIRST], results[LAST] = tables.first, tables.last
        floats = self._floats[:, None]
        sure = np.where(floats, tables.items * _ROUNDING * tables.sizes - np.abs(tables.sums) <= 0.0, tables.sizes < _EXACT)
        sure |= ~self._totals[:, None]
        bad = [(_TOTALS, ~sure)] if np.count_nonzero(sure) < sure.size else []
        if self._spreads:
            bad.append((_SPREADS, self._variances(tables, results)))
        if self._wide:
            large = np.zeros(counts.shape, dtype=bool)
            for found in (tables.least, tables.greatest, tables.first, tables.last):
                large[:, self._wide] |= np.abs(found[:, self._wide]) >= _EXACT
            bad.append((_PLACED, large))
        patches: Patches = {}
        for functions, where in bad:
            where &= counts > 0
            for entity, part, window in np.argwhere(where).tolist() if where.any() else ():
                for function in self._asked.get((part, window), set()).intersection(functions):
                    answer = careful.of(function, self._plan.parts[part], entity, window)
                    patches[function, part, entity, window] = answer
        return patches

    def _variances(self, tables: Tables, results: Array) -> Array:
        """Variances; where they may not be exact."""
        mine = self._spreads
        counts, sums, squares = tables.counts[:, mine], tables.sums[:, mine], tables.squares[:, mine]
        scatter = squares - sums * sums / counts
        variance = scatter / (counts - 1.0)
        results[VAR][:, mine], results[STD][:, mine] = variance, np.sqrt(variance)
        scatter -= squares * ((3.0 * tables.items[:, mine] + 12.0) * _ROUNDING)
        bad = np.zeros(tables.counts.shape, dtype=bool)
        bad[:, mine] = ~((scatter >= _TINY) | (counts < 2.0))
        return bad


class _Careful:
    """Answers single windows from what is kept of them."""

    def __init__(self, held: list[Items], recent: RecentValues, tables: Tables) -> None:
        self._held, self._recent, self._tables = held, recent, tables

    def of(self, function: str, part: Part, entity: int, window: int) -> Any:
        """One function of one window of one entity."""
        items = self._of(STATES[function][0], part, entity, window, np.zeros(0, dtype=np.int64))
        squares = self._of("squares", part, entity, window, []) if function in _SPREADS else []
        values = self._recent.values(part.place, entity, window)
        return careful_merged(function, items, values, int(self._tables.counts[entity, part.place, window]), squares)

    def _of(self, kind: str, part: Part, entity: int, window: int, nothing: Any) -> Any:
        for held in self._held:
            if (kind, part.place) in held.slots:
                return held.of(kind, part.place, entity, window)
        return nothing


def _places(times: Array, bounds: Array, instants: Array) -> Array:
    """Of each key, a row each, how many of its times lie before each instant."""
    ends = bounds.tolist()
    return np.stack([times[a:b].searchsorted(instants) for a, b in zip(ends[:-1], ends[1:], strict=True)])
