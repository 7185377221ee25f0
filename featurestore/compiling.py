"""Numba's compiler behind annotations of our own: its decorators have none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaPerformanceWarning

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inner(function: _Function) -> _Function:
    """A function that compiled ones call: made for the types that they call it with, and kept with them."""
    found: _Function = numba.njit(error_model="numpy", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return found


def compiled(*signature: Any) -> Callable[[_Function], _Function]:
    """A function that is compiled when its module is imported, or loaded where an earlier process left it.

    What was compiled is kept beside the file, else in the user's own cache (``NUMBA_CACHE_DIR`` says where), else nowhere.
    Numba knows by the file of the function and by what it closes over whether kept code still holds, and not by the files of
    what it calls: it closes over the :func:`stamp` of those.

    Args:
        signature: the types of the arguments.
    """

    def compile_now(function: _Function) -> _Function:
        options = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
        # Filters of warnings are the process's: threads that load entries take turns, as they do within Numba anyway.
        with global_compiler_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaPerformanceWarning)
            try:
                found: _Function = numba.njit(signature, cache=True, **options)(function)
            except (RuntimeError, OSError):  # no folder that could be written to
                found = numba.njit(signature, **options)(function)
        return found

    return compile_now


def stamp(*files: Path) -> int:
    """A number of what stands in files and in this one; another one when any of them changes."""
    found = blake2b(digest_size=7)
    for file in sorted({*files, Path(__file__)}):
        found.update(file.read_bytes())
    return int.from_bytes(found.digest())
