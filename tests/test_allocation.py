"""Few allocators: what is set for the process, and who is heeded."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[1]
NAMES = {"ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX"}

POOL = """
import pyarrow as pa
from featurestore.allocation import share_freed_memory
before = pa.default_memory_pool().backend_name
share_freed_memory()
print(before, pa.default_memory_pool().backend_name)
"""
ARENAS = """
import ctypes, os, sys, tempfile, threading
from pathlib import Path
from featurestore import FeatureStore
from featurestore.config import Config
if sys.argv[1] == "opened":
    FeatureStore(config=Config("p", Path(".")))
import numpy as np
import polars
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.fflush.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
count = 2 * (os.cpu_count() or 1) + 1
together = threading.Barrier(count + 1)
def work():
    held = [np.ones(2_000) for _ in range(10)]
    together.wait()
    together.wait()
threads = [threading.Thread(target=work) for _ in range(count)]
for thread in threads:
    thread.start()
together.wait()
with tempfile.TemporaryFile("w+b") as file:
    stream = libc.fdopen(file.fileno(), b"w")
    libc.malloc_info(0, stream)
    libc.fflush(stream)
    file.seek(0)
    print(file.read().count(b"<heap nr="))
together.wait()
"""


def run(code: str, *arguments: str, **environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_arrow_takes_the_systems_allocator() -> None:
    assert run(POOL)[1] == "system"


@pytest.mark.skipif("mimalloc" not in pa.supported_memory_backends(), reason="this Arrow has no other allocator")
def test_who_names_another_allocator_keeps_it() -> None:
    assert run(POOL, ARROW_DEFAULT_MEMORY_POOL="mimalloc") == ["mimalloc", "mimalloc"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_a_project_that_is_opened_leaves_no_more_arenas_than_cores() -> None:
    cores = os.cpu_count() or 1
    assert int(run(ARENAS, "opened")[0]) <= cores < int(run(ARENAS, "not opened")[0])
    assert int(run(ARENAS, "opened", MALLOC_ARENA_MAX=str(cores + 2))[0]) == cores + 2
