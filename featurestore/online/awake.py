"""An event loop kept awake for the moment that a near server takes to answer.

A process that sleeps is woken late, on virtual machines above all: a round trip to a server beside it that takes 25 us of a
process that looks for the answer takes 65 to 100 us, and 40 us of CPU, of one that is woken by it. So where one look-up waits
and nothing else, the loop goes on looking, for a short time only, and seldom where answers do not come that soon.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import perf_counter
from typing import Final

_MOST_SECONDS: Final = 200e-6
_MOST_SKIPPED: Final = 1_023


class AwakeLoop:
    """Keeps one event loop from sleeping while an answer is near.

    Args:
        loop: which.
        cores: how many this process may use: with one it would keep that from the server.
        timer: seconds of a clock that never goes back.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, cores: int | None = None, timer: Callable[[], float] = perf_counter
    ) -> None:
        self._loop, self._timer = loop, timer
        self._can_wait = (cores or _cores()) > 1
        self._is_awake = False
        self._skipped = self._to_skip = 0

    def until(self, is_over: Callable[[], bool]) -> None:
        """Stay awake until something is over, but not for long. After vain attempts ever more calls do nothing."""
        if self._is_awake or not self._can_wait:
            return
        if self._skipped < self._to_skip:
            self._skipped += 1
            return
        self._is_awake, self._skipped = True, 0
        self._loop.call_soon(self._look, is_over, self._timer() + _MOST_SECONDS)

    def _look(self, is_over: Callable[[], bool], ends: float) -> None:
        # A callback that is due keeps the loop from sleeping in its poll.
        if is_over():
            self._is_awake, self._to_skip = False, self._to_skip // 2
        elif self._timer() < ends:
            self._loop.call_soon(self._look, is_over, ends)
        else:
            self._is_awake, self._to_skip = False, min(2 * self._to_skip + 1, _MOST_SKIPPED)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
