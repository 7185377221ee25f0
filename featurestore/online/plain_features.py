"""Which features of windows are plain: numbers, of which compiled code answers count, sum, mean, extremes, ends and spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from featurestore.registry import types as t

if TYPE_CHECKING:
    from featurestore.transforms.windows.schema import WindowFeature

_NUMBERS: Final = t.INTEGERS | t.FLOATS
_INSTANTS: Final = frozenset({t.Timestamp, t.Date})
_ORDERED: Final = frozenset({"min", "max", "first", "last"})
_SUMS: Final = frozenset({"sum", "mean", "var", "std"})


def is_plain(feature: WindowFeature) -> bool:
    """Whether a feature is."""
    aggregation, kind, function = feature.aggregation, feature.column_type, feature.function.name
    if aggregation.order_by or not feature.parameters.keys() <= {"values", "skip_nan"}:
        return False
    if aggregation.empty is not None and feature.type in _INSTANTS:
        return False
    if function == "count":
        return not isinstance(kind, t.List | t.Vector) and (kind in t.FLOATS or not feature.parameters.get("skip_nan"))
    if function in ("any", "all"):
        return kind == t.Bool
    if function in _ORDERED:
        return kind in _NUMBERS or kind in _INSTANTS or kind == t.Bool
    return function in _SUMS and (kind in _NUMBERS or kind == t.Bool)
