"""The plain functions of numbers over tiles and the events since, all entities of a request at once: a few numpy calls.

What ``thin_windows.py`` is to blocks of events. Items of tiles of one type lie side by side in a block (``tiled_blocks.py``),
so that all states, windows and entities, and the events too, are reduced in one call for each of sums, minima and maxima
(``merged_runs.py``). What is not known to be exact is computed once more from items and events (``careful_merged``):

* integers, if the sum of the sizes of a window's items and values, or an answer, is not below 2^53;
* a sum ``S`` of ``n`` floats, items and values together, if its rounding error, at most ``n * u * sum(|x|)``, ``u = 2^-53``,
  may be above 5e-10 of it;
* a variance: ``V = Q - S^2 / m`` of ``m`` values, ``Q`` the sum of squares. By the Cauchy-Schwarz inequality ``sum(|x|)^2`` of
  items is at most ``m * Q``, so that ``V`` has an error of at most ``(3 n + 12) * u * Q``, which must be below 5e-10 of ``V``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.online.careful import careful_merged
from featurestore.online.kept_items import KeptItems, KeptStates
from featurestore.online.merged_runs import MergedRuns, Order, Slot
from featurestore.online.recent_values import RecentValues
from featurestore.online.thin_plan import Found, ThinPlan
from featurestore.online.thin_rows import COUNT, COUNTED, FIRST, FUNCTIONS, LAST, MAX, MEAN, MIN, STD, SUM, VAR, Part, Patches
from featurestore.online.window_edges import Array, edges_at
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
_VALUES: Final = ("sum", "least", "greatest", "first", "last")
"""The states whose items values may stand for."""
_KEPT_ORDERS: Final = 256
_NOTHING: Final = np.zeros(0, dtype=np.int64)
_ONE_MORE: Final = np.zeros(1)
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
        needed: dict[tuple[str, int], int] = {}
        self._asked: dict[tuple[int, int], set[str]] = {}
        for feature, part, function, window in self._plan.cells:
            self._asked.setdefault((part.place, window), set()).add(function)
            for state in states(feature, None):
                if state.key in form.states:
                    needed[state.kind, part.place] = form.states[state.key]
        parts = self._plan.parts
        self._kept = KeptStates(form.codec.layout, needed)
        self._floats = np.array([not part.whole for part in parts], dtype=bool)[:, None]
        self._wide = [part.place for part in parts if part.wide]
        self._uncounted = np.array([part.functions.isdisjoint(_TOTALS) for part in parts], dtype=bool)[:, None]
        self._stored = [part.place for part in parts if part.need < COUNTED]
        self._spreads = [part.place for part in parts if not part.functions.isdisjoint(_SPREADS)]
        self._owners = np.zeros((len(parts), len(self._kept.slots)))
        for i, slot in enumerate(self._kept.slots):
            self._owners[slot.part, i] = 1.0
        end = sum(slot.block for slot in self._kept.slots) + 1
        self._slots = list(self._kept.slots)
        self._slots += [Slot(_VALUES, part, recent=True, block=end + i) for i, part in enumerate(self._stored)]
        end += len(self._stored)
        self._slots += [Slot(("squares",), part, recent=True, block=end + i) for i, part in enumerate(self._spreads)]
        self._orders: dict[tuple[int, bool], Order] = {}

    def answer(self, tiles: DecodedTiles, events: DecodedBlocks, instant: int) -> Found:
        """The values of each of :attr:`names`, and their statuses, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        plan = self._plan
        if not plan.parts:
            return [], []
        edges = edges_at(plan.windows, instant)
        with np.errstate(all="ignore"):
            kept, recent = KeptItems(self._kept, tiles, edges), RecentValues(plan, events, edges)
            pieces, at = list(kept.values), kept.at
            lows, highs = at[:, :, edges.pairs[::2]], at[:, :, edges.pairs[1::2]]
            # A window has values where any of its states has items; how many, "rows" say, where they are asked for.
            counts = np.minimum(self._owners @ (highs > lows), 1.0)
            if recent.some:
                more = self._recent(recent, pieces)
                lows = np.concatenate([lows, more[:, :, edges.pairs[::2]]], axis=1)
                highs = np.concatenate([highs, more[:, :, edges.pairs[1::2]]], axis=1)
            values = np.concatenate([*pieces, _ONE_MORE], dtype=np.float64, casting="unsafe")
            runs = MergedRuns(self._order(len(events.counts), recent.some), values, lows, highs)
            np.maximum(counts, runs.rows, out=counts)
            if recent.some:
                counts += recent.counts
            results = np.zeros((len(FUNCTIONS), len(plan.parts), len(plan.windows), len(events.counts)))
            patches = self._finished(runs, counts, results.transpose(0, 3, 1, 2), _Careful(kept, recent, counts))
            return plan.answers.of(results, patches)

    def _recent(self, recent: RecentValues, pieces: list[Array]) -> Array:
        """Put values and squares behind the items; where each edge falls in them."""
        size = sum(piece.size for piece in pieces)
        values = [recent.pieces[part] for part in self._stored]
        squares = [recent.pieces[part].astype(np.float64) for part in self._spreads]
        pieces += values + [square * square for square in squares]
        after = size + sum(piece.size for piece in values)
        return np.concatenate([recent.at(self._stored, size), recent.at(self._spreads, after)], axis=1)

    def _order(self, entities: int, recent: bool) -> Order:
        key = (entities, recent)
        if key not in self._orders:
            if len(self._orders) >= _KEPT_ORDERS:
                self._orders.clear()
            slots = self._slots if recent else self._kept.slots
            self._orders[key] = Order(slots, (entities, len(self._plan.parts), len(self._plan.windows)))
        return self._orders[key]

    def _finished(self, tables: MergedRuns, counts: Array, results: Array, careful: _Careful) -> Patches:
        """Put the answers into their places; those that these cannot hold exactly come back."""
        results[COUNT] = counts
        results[SUM] = tables.sums
        results[MEAN] = tables.sums / counts
        results[MIN] = tables.least + 0.0  # -0.0 is 0.0
        results[MAX] = tables.greatest + 0.0
        results[FIRST], results[LAST] = tables.first, tables.last
        sure = np.where(
            self._floats, tables.items * _ROUNDING * tables.sizes - np.abs(tables.sums) <= 0.0, tables.sizes < _EXACT
        )
        sure |= self._uncounted
        bad: list[tuple[tuple[str, ...], Array]] = [(_TOTALS, ~sure)] if np.count_nonzero(sure) < sure.size else []
        if self._spreads:
            bad.append((_SPREADS, self._variances(tables, counts, results)))
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

    def _variances(self, tables: MergedRuns, counts: Array, results: Array) -> Array:
        """Variances; where they may not be exact."""
        mine = self._spreads
        counts, sums, squares = counts[:, mine], tables.sums[:, mine], tables.squares[:, mine]
        scatter = squares - sums * sums / counts
        variance = scatter / (counts - 1.0)
        results[VAR][:, mine], results[STD][:, mine] = variance, np.sqrt(variance)
        scatter -= squares * ((3.0 * tables.items[:, mine] + 12.0) * _ROUNDING)
        bad = np.zeros(tables.sums.shape, dtype=bool)
        bad[:, mine] = ~((scatter >= _TINY) | (counts < 2.0))
        return bad


class _Careful:
    """Answers single windows from what is kept of them."""

    def __init__(self, kept: KeptItems, recent: RecentValues, counts: Array) -> None:
        self._kept, self._recent, self._counts = kept, recent, counts

    def of(self, function: str, part: Part, entity: int, window: int) -> Any:
        """One function of one window of one entity."""
        items = self._kept.of(STATES[function][0], part.place, entity, window)
        squares = self._kept.of("squares", part.place, entity, window) if function in _SPREADS else None
        values = self._recent.values(part.place, entity, window)
        count = int(self._counts[entity, part.place, window])
        return careful_merged(function, _NOTHING if items is None else items, values, count, squares or [])
