"""An event loop stays awake for an answer that is near, and for no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from featurestore.online.awake import AwakeLoop


class Turns:
    """An event loop of which each turn takes 10 us, and the clock that says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        self.due.append((callback, args))

    def run(self) -> int:
        """Turns until nothing is due any more."""
        turns = 0
        while self.due:
            self.now += 10e-6
            turns += 1
            (callback, args), *self.due = self.due
            callback(*args)
        return turns


def awake(turns: Turns, cores: int = 2) -> AwakeLoop:
    return AwakeLoop(cast("asyncio.AbstractEventLoop", turns), cores=cores, timer=lambda: turns.now)


def test_it_stays_awake_until_the_answer_is_there() -> None:
    turns = Turns()
    loop = awake(turns)
    ends = 50e-6
    loop.until(lambda: turns.now >= ends)
    loop.until(lambda: False)  # one wait at a time
    assert len(turns.due) == 1
    assert turns.run() == 5


def test_it_does_not_stay_awake_for_long() -> None:
    turns = Turns()
    awake(turns).until(lambda: False)
    assert turns.run() == 20


def test_with_one_core_it_sleeps() -> None:
    turns = Turns()
    awake(turns, cores=1).until(lambda: False)
    assert not turns.due


def test_in_vain_it_is_tried_ever_less_often_and_again_once_it_works() -> None:
    turns = Turns()
    loop = awake(turns)
    tried = []
    for call in range(40):
        loop.until(lambda: False)
        if turns.run():
            tried.append(call)
    assert tried == [0, 2, 6, 14, 30]
    worked = []
    for _ in range(80):
        loop.until(lambda: True)
        worked.append(turns.run() > 0)
    assert not all(worked[:60])
    assert all(worked[60:])
