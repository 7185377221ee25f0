"""Several writers at once, and writers that die: every batch lands exactly once, and every version is readable."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from featurestore.config import LakeConfig
from featurestore.errors import LakeError
from featurestore.ingestion import rewrites
from featurestore.ingestion.delta_log import DeltaLog
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.object_storage import ObjectStorage
from tests.lake.conftest import MovedClock
from tests.lake.rows import FOLDER_ONLY, rows, values
from tests.lake.writers import BATCHES, append_every_batch, die_while_appending, open_table

PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture
def two(settings: LakeConfig) -> tuple[LakeTable, LakeTable]:
    """One table, as two processes see it: neither knows what the other read of the log."""
    return open_table(settings), open_table(settings)


def test_two_processes_that_write_the_same_batches_land_each_once(settings: LakeConfig) -> None:
    barrier, results = PROCESSES.Barrier(2), PROCESSES.Queue()
    writers = [PROCESSES.Process(target=append_every_batch, args=(settings, barrier, results)) for _ in range(2)]
    for writer in writers:
        writer.start()
    committed = [results.get(timeout=120) for _ in writers]
    for writer in writers:
        writer.join()
    results.close()
    assert [sum(both) for both in zip(*committed, strict=True)] == [1] * BATCHES
    assert values(open_table(settings)) == list(range(BATCHES))


@pytest.mark.parametrize(
    ("settings", "moment"),
    [("folder", "between parts"), ("folder", "before the commit"), ("folder", "after the commit"), ("s3", "before the commit")],
    indirect=["settings"],
)
def test_a_writer_killed_at_any_moment_leaves_a_table_that_takes_the_batch_once(
    settings: LakeConfig, storage: ObjectStorage, moment: str
) -> None:
    table = open_table(settings)
    table.append(rows(("a", 0, 0)), transactions={"file-0": 1})
    writer = PROCESSES.Process(target=die_while_appending, args=(settings, moment))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert values(table) == ([0, 1] if moment == "after the commit" else [0])
    assert table.append(rows(("a", 1, 1)), transactions={"file-1": 1}).committed == (moment != "after the commit")
    assert values(table) == [0, 1]

    parts = {found.key for found in storage.list(table.folder) if found.key.endswith(".parquet")}
    orphans = parts - {storage.key(file) for file in table.files()}
    assert len(orphans) in {"between parts": (2, 3), "before the commit": (1,), "after the commit": (0,)}[moment]
    assert table.sweep() == []
    late = LakeTable(storage, "events", "flights", MovedClock(hours=25))
    assert {storage.key(file) for file in late.sweep()} == orphans
    assert late.sweep() == []
    assert values(table) == [0, 1]


def test_half_written_files_of_a_folder_are_swept(tmp_path: Path) -> None:
    table = open_table(LakeConfig(url=str(tmp_path)))
    table.append(rows(("a", 1, 1)))
    staged = tmp_path / table.folder / "part-0.parquet#1"
    staged.write_bytes(b"half")
    assert table.sweep() == []
    assert table.sweep(timedelta(seconds=-60)) == [f"{table.uri}/part-0.parquet#1"]
    assert not staged.exists()
    assert values(table) == [1]


@FOLDER_ONLY
def test_what_old_versions_need_is_not_swept(two: tuple[LakeTable, LakeTable]) -> None:
    table, _ = two
    before = table.append(rows(("a", 1, 1), ("b", 1, 2))).version
    table.delete("value = 1")
    assert table.sweep(timedelta(seconds=-60)) == []
    assert values(table, before) == [1, 2]


def test_an_append_and_a_compaction_at_once_both_happen(two: tuple[LakeTable, LakeTable]) -> None:
    writer, keeper = two
    for n in range(4):
        writer.append(rows(("a", n, n)))

    def write() -> None:
        for n in range(4, 12):
            writer.append(rows(("a", n, n)))

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(write)
        while not done.done():
            keeper.compact()
        done.result()
    keeper.compact()
    assert values(keeper) == list(range(12))
    assert values(writer) == list(range(12))


@FOLDER_ONLY
def test_one_table_object_may_be_written_by_several_threads(two: tuple[LakeTable, LakeTable]) -> None:
    table, _ = two
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: table.append(rows(("a", n, n)), transactions={f"file-{n % 4}": n}), range(8)))
    landed = values(table)
    assert set(landed) >= {4, 5, 6, 7}
    assert len(landed) == len(set(landed))


@pytest.fixture
def before_a_rewrite_commits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Functions that run, once each, after the files of a rewrite are written and before it is committed."""
    interruptions: list[Any] = []
    commit = rewrites._Rewrite.commit

    def interrupted(self: Any, *arguments: Any, **options: Any) -> bool:
        if interruptions:
            interruptions.pop(0)()
        return commit(self, *arguments, **options)

    monkeypatch.setattr(rewrites._Rewrite, "commit", interrupted)
    yield interruptions
    assert not interruptions


def test_a_deletion_that_meets_a_compaction_begins_anew(
    two: tuple[LakeTable, LakeTable], before_a_rewrite_commits: list[Any], storage: ObjectStorage
) -> None:
    eraser, keeper = two
    for n in range(4):
        eraser.append(rows(("a", n, n), ("b", n, n + 10)))
    before_a_rewrite_commits.append(keeper.compact)
    assert eraser.delete("key = 'b'") == 4
    assert values(eraser) == values(keeper) == [0, 1, 2, 3]
    named = {storage.key(file) for version in range(eraser.version() or 0) for file in eraser.files(version)}
    named |= {storage.key(file) for file in eraser.files()}
    assert {found.key for found in storage.list(eraser.folder) if found.key.endswith(".parquet")} == named


def test_a_deletion_that_meets_an_append_is_committed_after_it(
    two: tuple[LakeTable, LakeTable], before_a_rewrite_commits: list[Any]
) -> None:
    eraser, writer = two
    eraser.append(rows(("a", 1, 1), ("b", 1, 2)))
    before_a_rewrite_commits.append(lambda: writer.append(rows(("b", 2, 3))))
    assert eraser.delete("key = 'b'") == 1
    assert values(eraser) == [1, 3]


@FOLDER_ONLY
def test_two_deletions_at_once_remove_each_row_once(
    two: tuple[LakeTable, LakeTable], before_a_rewrite_commits: list[Any]
) -> None:
    one, other = two
    one.append(rows(("a", 1, 1), ("b", 1, 2), ("c", 1, 3)))
    before_a_rewrite_commits.append(lambda: other.delete("key = 'b'"))
    before_a_rewrite_commits.append(lambda: None)
    before_a_rewrite_commits.append(lambda: None)
    assert one.delete("key in ('a', 'b')") == 1
    assert values(one) == values(other) == [3]


@FOLDER_ONLY
@pytest.mark.parametrize("meeting", ["delete", "compact"])
@pytest.mark.parametrize("rewrite", ["delete", "compact", "overwrite"])
def test_a_rewrite_is_never_committed_onto_a_version_that_it_did_not_see(
    two: tuple[LakeTable, LakeTable], monkeypatch: pytest.MonkeyPatch, rewrite: str, meeting: str
) -> None:
    one, other = two
    for n in range(3):
        one.append(rows(("a", n, n), ("b", n, n + 10)))
    meetings = [lambda: other.delete("key = 'a'") if meeting == "delete" else other.compact()]
    write = DeltaTable.create_write_transaction

    def meet(self: DeltaTable, *arguments: Any, **options: Any) -> None:
        if meetings:
            meetings.pop()()
        write(self, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", meet)
    held = {value for n in range(3) for value in (n, n + 10) if meeting == "compact" or value >= 10}
    if rewrite == "delete":
        assert one.delete("value = 0 OR value = 10") == len(held & {0, 10})
        held -= {0, 10}
    elif rewrite == "compact":
        one.compact()
    else:
        one.overwrite(rows(("c", 1, 20)))
        held = {20}
    assert values(one) == sorted(held)


def test_a_commit_whose_answer_was_lost_is_recognised(
    two: tuple[LakeTable, LakeTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = two
    write = DeltaTable.create_write_transaction

    def lose_the_answer(self: DeltaTable, *arguments: Any, **options: Any) -> None:
        write(self, *arguments, **options)
        raise CommitFailedError("Concurrent transaction failed.")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lose_the_answer)
    commit = table.append(rows(("a", 1, 1)), transactions={"file": 1})
    assert (commit.committed, commit.rows) == (True, 1)
    assert values(table) == [1]


def test_a_writer_that_always_loses_gives_up_and_leaves_nothing(
    two: tuple[LakeTable, LakeTable], monkeypatch: pytest.MonkeyPatch, storage: ObjectStorage
) -> None:
    table, _ = two
    table.append(rows(("a", 1, 1)))

    def lose(self: DeltaTable, *arguments: Any, **options: Any) -> None:
        raise CommitFailedError("somebody was faster")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lose)
    monkeypatch.setattr("featurestore.ingestion.delta_log.ATTEMPTS", 3)
    with pytest.raises(LakeError, match="other writers were faster 3 times"):
        table.append(rows(("a", 2, 2)))
    assert values(table) == [1]
    assert len([found for found in storage.list(table.folder) if found.key.endswith(".parquet")]) == 1


def test_two_writers_that_add_the_same_column_both_land(
    two: tuple[LakeTable, LakeTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.append(rows(("a", 1, 1)))
    other.version()
    wide = [rows(("b", n, n)).append_column("wind", rows(("", 0, n)).column("value")) for n in (2, 3)]
    widen, meetings = DeltaLog.widen, [lambda: other.append(wide[1])]

    def meet(self: DeltaLog, *arguments: Any) -> None:
        if meetings:
            meetings.pop()()
        widen(self, *arguments)

    monkeypatch.setattr(DeltaLog, "widen", meet)
    one.append(wide[0])
    assert one.scan().sort("value").collect()["wind"].to_list() == [None, 2, 3]
