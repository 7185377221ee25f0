"""Few allocators in a process, so that the memory that one step gives back is there for the next.

Arrow has an allocator of its own, and glibc makes up to eight arenas a core. What a thread freed in one of them is of no use to
a thread that asks another: it gets fresh pages, which the system has to find and to clear, some microseconds each on a virtual
machine. Ingestion of 0.5 GB spent a third of its CPU there (docs/adr/0029-few-allocators.md).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Final

_ARENA_MAX: Final = -8
"""``M_ARENA_MAX`` of ``mallopt`` (glibc's ``malloc.h``)."""


@cache
def share_freed_memory() -> None:
    """Arrow takes memory from the system's allocator, which has no more arenas than there are cores; for the whole process.

    Whoever says otherwise by ``ARROW_DEFAULT_MEMORY_POOL`` or ``MALLOC_ARENA_MAX`` is heeded. Elsewhere than on glibc only the
    first is done.
    """
    import pyarrow as pa

    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
    mallopt = None if "MALLOC_ARENA_MAX" in os.environ or os.name != "posix" else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, os.cpu_count() or 1)
