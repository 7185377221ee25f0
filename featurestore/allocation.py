"""Few allocators in a process, so that the memory that one step gives back is there for the next.

Arrow has an allocator of its own, and glibc makes up to eight arenas a core, and returns to the system what was large. What a
thread freed is then of no use to the next: it gets fresh pages, which the system has to find and to clear, some microseconds
each on a virtual machine. Ingestion of 0.5 GB spent a third of its CPU there (docs/adr/0029-few-allocators.md).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt`` (glibc's ``malloc.h``)."""
_KEPT: Final = 64 << 20
"""Bytes at the end of an arena that are kept when they are free."""
_LARGE: Final = 16 << 20
"""What is this large comes from the system, and goes back to it, on its own."""
_SETTINGS: Final = {
    "MALLOC_ARENA_MAX": (_ARENA_MAX, os.cpu_count() or 1),
    "MALLOC_TRIM_THRESHOLD_": (_TRIM_THRESHOLD, _KEPT),
    "MALLOC_MMAP_THRESHOLD_": (_MMAP_THRESHOLD, _LARGE),
}
"""By the variable that says otherwise. glibc comes to such thresholds on its own, but a few hundred fresh megabytes later."""


@cache
def few_arenas() -> None:
    """glibc makes no more arenas than there are cores, and keeps what is freed; for the whole process.

    What libraries made before stays: polars makes three when it is imported. So this is for the beginning of a process.

    Whoever says otherwise by ``MALLOC_ARENA_MAX``, ``MALLOC_TRIM_THRESHOLD_`` or ``MALLOC_MMAP_THRESHOLD_`` is heeded.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    for variable, (parameter, value) in _SETTINGS.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


@cache
def share_freed_memory() -> None:
    """:func:`few_arenas`, and Arrow takes memory from them, too, unless ``ARROW_DEFAULT_MEMORY_POOL`` says otherwise."""
    import pyarrow as pa

    few_arenas()
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
