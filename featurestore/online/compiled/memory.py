"""Numbers where they lie in memory."""

from __future__ import annotations

from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic

from featurestore.compiling import inner


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(_: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), build


@inner
def numbers_at(address: int, size: int, dtype: Any) -> Any:
    """So many numbers in memory as an array, to be read only while something else holds them."""
    return numba.carray(_pointer(address), size, dtype)
