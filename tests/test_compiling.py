"""Compiled code is kept where there is room for it, and made anew where there is none or where its files changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from featurestore.compiling import stamp

ROOT = Path(__file__).parents[1]
MODULE = """
from numba import int64
from featurestore.compiling import compiled, inner

@inner
def twice(number):
    return 2 * number

def make(stamp):
    @compiled(int64)
    def answer(number):
        return twice(number) + 0 * stamp
    return answer

answer = make({stamp})
print(answer(21), sum(answer.stats.cache_hits.values()), sum(answer.stats.cache_misses.values()))
"""

READ_TEXT = """
import numpy as np
from times import read_instants

text, instants = np.frombuffer(b"2024-02-29T10:20:30Z", np.uint8), np.zeros(1, np.int64)
read = read_instants(text, np.array([0, 20]), True, instants)
print(int(read), instants[0], int(read_instants(text, np.array([0, 19]), True, instants)))
"""


def run(folder: Path, stamp: int = 1, **environment: str) -> list[int]:
    """What it answers, how often kept code was taken, and how often it was looked for in vain."""
    module = folder / "kept.py"
    if not module.exists() or MODULE.format(stamp=stamp) != module.read_text():
        module.write_text(MODULE.format(stamp=stamp))
    return printed(module, **environment)


def printed(module: Path, **environment: str) -> list[int]:
    given = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(module)],
        capture_output=True, text=True, env=given | {"PYTHONPATH": str(ROOT)} | environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def test_what_was_compiled_is_kept_beside_its_file(tmp_path: Path) -> None:
    assert run(tmp_path) == [42, 0, 1]
    assert run(tmp_path) == [42, 1, 0]


def test_it_is_kept_by_what_it_closes_over(tmp_path: Path) -> None:
    run(tmp_path)
    stamp = (tmp_path / "kept.py").stat()
    (tmp_path / "kept.py").write_text(MODULE.format(stamp=2))
    os.utime(tmp_path / "kept.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the file looks as it did
    assert run(tmp_path, stamp=2) == [42, 0, 1]


def test_where_the_folder_takes_no_files_it_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("in the way")
    home = tmp_path / "home"
    assert run(tmp_path, HOME=str(home), XDG_CACHE_HOME=str(home)) == [42, 0, 1]
    assert run(tmp_path, HOME=str(home), XDG_CACHE_HOME=str(home)) == [42, 1, 0]


def no_room(folder: Path) -> dict[str, str]:
    for name in ("__pycache__", "home"):
        (folder / name).write_text("in the way")
    return dict.fromkeys(("HOME", "XDG_CACHE_HOME"), str(folder / "home"))


def test_where_there_is_no_room_at_all_it_is_compiled_each_time(tmp_path: Path) -> None:
    environment = no_room(tmp_path)
    for _ in range(2):
        assert run(tmp_path, **environment)[0] == 42


def test_text_is_read_where_there_is_no_room_at_all(tmp_path: Path) -> None:
    shutil.copy(ROOT / "featurestore" / "ingestion" / "compiled" / "times.py", tmp_path)
    (tmp_path / "read.py").write_text(READ_TEXT)
    assert printed(tmp_path / "read.py", **no_room(tmp_path)) == [1, 1_709_202_030_000_000, 0]


@pytest.mark.parametrize(("reader", "loaded"), [("json_rows", "json_lines"), ("csv_fields", "csv_records")])
def test_a_reader_loads_no_compiled_loop_but_its_own(reader: str, loaded: str) -> None:
    code = f"import sys\nimport featurestore.ingestion.readers.{reader}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    entries = {"json_lines", "csv_quotes", "csv_records", "times"}
    assert {name for name in entries if f"featurestore.ingestion.compiled.{name}" in done.stdout.split()} == {loaded}


def test_a_stamp_is_of_what_stands_in_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    for file in (one, other):
        file.write_text("1")
    found = stamp(one, other)
    os.utime(one, ns=(0, 0))
    assert stamp(other, one) == found
    other.write_text("2")
    assert stamp(one, other) != found
    assert stamp() not in (found, stamp(one))
