"""Room for the cells of a block."""

from __future__ import annotations

import threading

import numpy as np


class Room(threading.local):
    """Where a thread puts the cells of one block after the other: to touch new memory costs half of what reading does."""

    def __init__(self) -> None:
        self._cells, self._kinds = np.empty(0, np.uint64), np.empty(0, np.uint8)

    def of(self, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells and kinds for so many columns and rows. More columns of as many rows keep what was in those before."""
        size = columns * rows
        if size > len(self._kinds):
            cells, kinds = np.empty(3 * size, np.uint64), np.empty(3 * size // 2, np.uint8)
            cells[: len(self._cells)], kinds[: len(self._kinds)] = self._cells, self._kinds
            self._cells, self._kinds = cells, kinds
        return self._cells[: 2 * size].reshape(columns, rows, 2), self._kinds[:size].reshape(columns, rows)
