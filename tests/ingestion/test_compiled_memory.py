"""The compiled loops touch no memory but their own: read in threads, under glibc's checks of every block."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKED = "libc_malloc_debug.so.0"
READ = """
import json
from concurrent.futures import ThreadPoolExecutor
from featurestore.ingestion.readers.json_rows import read_rows
from featurestore.ingestion.readers.room import Room

def read(columns):
    line = json.dumps({f"c{n}": f"text {n}" for n in range(columns)}).encode() + b"\\n"
    escaped = line.replace(b"text", b"\\\\u00e9")
    room = Room()
    for _ in range(15):
        for lines in (line, escaped):
            assert read_rows(lines * 1_000, frozenset(), room).frame.height == 1_000

with ThreadPoolExecutor(4) as pool:
    list(pool.map(read, [1, 3, 9, 20, 9, 9]))
print("whole")
"""


def test_json_is_read_in_threads_without_a_byte_beyond() -> None:
    checks = {"LD_PRELOAD": CHECKED, "GLIBC_TUNABLES": "glibc.malloc.check=3"}
    done = subprocess.run([sys.executable, "-c", READ], cwd=ROOT, env=os.environ | checks, capture_output=True, text=True)
    if "cannot be preloaded" in done.stderr:
        pytest.skip("glibc's checking allocator is not installed")
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
