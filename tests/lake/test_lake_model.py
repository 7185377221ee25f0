"""Random histories of a table against a list of rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.config import LakeConfig
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.object_storage import open_storage
from featurestore.time import EVENT_TIME, SystemClock
from tests.lake.rows import at, rows, values, values_of
from tests.servers.s3 import S3Server

SECONDS = 6
FACTORIES: dict[str, Callable[[pytest.FixtureRequest, ExitStack], LakeConfig]] = {
    "folder": lambda request, stack: LakeConfig(url=stack.enter_context(tempfile.TemporaryDirectory())),
    "s3": lambda request, stack: _server(request).settings(f"s3://lake/{uuid4().hex}"),
}
KEYS = st.sampled_from(["a", "b", None])
STEPS = st.one_of(
    st.tuples(
        st.just("append"), st.integers(0, 4), st.lists(st.tuples(KEYS, st.integers(0, SECONDS)), max_size=4), st.booleans()
    ),
    st.tuples(st.just("overwrite"), st.lists(st.tuples(KEYS, st.integers(0, SECONDS)), max_size=3)),
    st.tuples(st.just("delete"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("compact")),
    st.tuples(st.just("vacuum")),
    st.tuples(st.just("open anew")),
)


def _server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue("server")
    return found


class Model:
    """The rows of every version, in a list."""

    def __init__(self, config: LakeConfig) -> None:
        self.config = config
        self.table = self.open()
        self.rows: list[tuple[str | None, int, int]] = []
        self.landed: set[int] = set()
        self.count = 0
        self.readable: dict[int, list[tuple[str | None, int, int]]] = {}
        self.appended: list[tuple[int, list[int]]] = []
        self.broken_at = -1  # the version of the last deletion or overwriting
        self.is_vacuumed = False

    def open(self) -> LakeTable:
        return LakeTable(open_storage(self.config), "events", "model", SystemClock())

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, name.replace(" ", "_"))(*arguments)
        self.check()

    def append(self, batch: int, found: list[tuple[str | None, int]], is_sorted: bool) -> None:
        new = self._numbered(found)
        commit = self.table.append(
            rows(*new), transactions={f"batch-{batch}": 1}, sort_by=["key", EVENT_TIME] if is_sorted else ()
        )
        assert commit.committed == (batch not in self.landed)
        if commit.committed:
            self.landed.add(batch)
            self.rows = self.rows + new
            self.appended.append((commit.version, [value for _, _, value in new]))

    def overwrite(self, found: list[tuple[str | None, int]]) -> None:
        self.rows = self._numbered(found)
        self.broken_at = self.table.overwrite(rows(*self.rows)).version
        self.appended.append((self.broken_at, [value for _, _, value in self.rows]))

    def delete(self, key: str) -> None:
        kept = [row for row in self.rows if row[0] != key]
        assert self.table.delete(f"key = '{key}'") == len(self.rows) - len(kept)
        if len(kept) < len(self.rows):
            self.rows = kept
            self.broken_at = self.table.version() or 0

    def compact(self) -> None:
        self.table.compact()

    def vacuum(self) -> None:
        self.table.vacuum(0)
        self.readable.clear()
        self.is_vacuumed = True

    def open_anew(self) -> None:
        self.table = self.open()

    def check(self) -> None:
        version = self.table.version()
        if version is None:
            assert self.rows == []
            return
        self.readable[version] = self.rows
        for known, held in self.readable.items():
            assert values(self.table, known) == sorted(value for _, _, value in held)
        assert self.table.row_count() == len(self.rows)
        for second in (1, SECONDS):
            inside = {value for _, when, value in self.rows if 1 <= when < second}
            assert inside <= set(values_of(self.table, self.table.files(start=at(1), end=at(second))))
        self._check_added(version)

    def _check_added(self, version: int) -> None:
        for since in (-1, version // 2, self.broken_at, version):
            added = self.table.added_files(since)
            if added is not None:
                assert values_of(self.table, added) == self._since(since)
            elif since >= self.broken_at:
                assert self.is_vacuumed

    def _since(self, since: int) -> list[int]:
        return sorted(value for version, new in self.appended if version > since for value in new)

    def _numbered(self, found: list[tuple[str | None, int]]) -> list[tuple[str | None, int, int]]:
        first, self.count = self.count, self.count + len(found)
        return [(key, second, first + n) for n, (key, second) in enumerate(found)]


@pytest.mark.parametrize(("storage", "examples"), [("folder", 25), ("s3", 3)])
def test_a_table_is_the_list_of_its_rows(request: pytest.FixtureRequest, storage: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=1, max_size=8))
    def check(steps: list[tuple[Any, ...]]) -> None:
        with ExitStack() as stack:
            model = Model(FACTORIES[storage](request, stack))
            for name, *arguments in steps:
                model.step(name, *arguments)

    check()
