"""Numba's compiler behind annotations of our own: its decorators have none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import types
from numba.core.errors import NumbaPerformanceWarning
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inner(function: _Function) -> _Function:
    """A function that compiled ones call: made for the types that they call it with, and kept with them."""
    found: _Function = numba.njit(error_model="numpy", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return found


def compiled(*signature: Any) -> Callable[[_Function], _Function]:
    """A function that is compiled when its module is imported, or loaded where an earlier process left it.

    Kept are they beside
    the file, else in the user's own cache (``NUMBA_CACHE_DIR`` says where), else nowhere.

    Args:
        signature: the types of the arguments.
    """

    def compile_now(function: _Function) -> _Function:
        options = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaPerformanceWarning)
            try:
                found: _Function = numba.njit(signature, cache=True, **options)(function)
            except (RuntimeError, OSError):  # no folder that could be written to
                found = numba.njit(signature, **options)(function)
        return found

    return compile_now


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(_: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), build


@inner
def numbers_at(address: int, size: int, dtype: Any) -> Any:
    """So many numbers in memory as an array, to be read only while something else holds them."""
    return numba.carray(_pointer(address), size, dtype)


def stamp() -> int:
    """When the newest file of this folder was written."""
    return max(path.stat().st_mtime_ns for path in Path(__file__).parent.glob("*.py"))
