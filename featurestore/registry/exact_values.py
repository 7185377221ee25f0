"""Whether a Python value can be of a type without becoming another value.

Arrow refuses most that does not fit, yet cuts 2.5 to 2 for an integer, makes 1.0 of True, and rounds to narrow floats.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from featurestore.registry.types import FLOATS, INTEGERS, DataType, Float16, Float32, List, Struct, Vector

_NARROW: Final[dict[DataType, tuple[str, range]]] = {Float16: ("<e", range(3, 6)), Float32: ("<f", range(6, 10))}
"""The format of a narrow float, and how many digits its shortest decimals have (IEEE 754)."""


def first_inexact(values: Iterable[Any], data_type: DataType) -> int | None:
    """The place of the first value that Arrow would change; None where all stay what they are.

    Kinds of values that Arrow refuses are not told. A narrow float may be given by its shortest decimal: 0.1 is a Float32.

    >>> from featurestore import types as t
    >>> first_inexact([1, 2.0, 2.5], t.Int64), first_inexact([0.1, 0.25, None], t.Float32)
    (2, None)
    """
    if not _checks(data_type):
        return None
    return next((place for place, value in enumerate(values) if not _stays(value, data_type)), None)


def _checks(data_type: DataType) -> bool:
    if isinstance(data_type, List | Vector):
        return _checks(data_type.inner)
    if isinstance(data_type, Struct):
        return any(_checks(part) for _, part in data_type.fields)
    return data_type in INTEGERS or data_type in FLOATS


def _stays(value: Any, data_type: DataType) -> bool:
    if isinstance(data_type, List | Vector):
        inner = data_type.inner
        return not isinstance(value, Iterable) or isinstance(value, str) or all(_stays(item, inner) for item in value)
    if isinstance(data_type, Struct):
        return not isinstance(value, Mapping) or all(_stays(value.get(name), part) for name, part in data_type.fields)
    if data_type in INTEGERS:
        return not isinstance(value, float) or value.is_integer()
    if data_type in FLOATS and isinstance(value, bool):
        return False
    return data_type not in _NARROW or not isinstance(value, int | float) or _is_narrow(value, *_NARROW[data_type])


def _is_narrow(value: float, form: str, digits: range) -> bool:
    if not math.isfinite(value):
        return True
    try:
        (narrow,) = struct.unpack(form, struct.pack(form, value))
    except (OverflowError, struct.error):
        return False
    return bool(narrow == value or any(float(f"{narrow:.{count}g}") == value for count in digits))
