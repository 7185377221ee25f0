"""The functions of aggregations: what each takes and what it gives.

===============  ==================  ============================  ==============================================
function         column              answer                        parameters
===============  ==================  ============================  ==============================================
count            any, or None        Int64                         skip_nan
count_distinct   plain               Int64                         skip_nan
sum              number, Bool        Int64, UInt64, Decimal(38),   skip_nan
                                     Float64
mean, var, std   number, Bool        Float64                       skip_nan
min, max, mode   plain               the column's own type         skip_nan
first, last      any                 the column's own type         skip_nan; ``order_by=``
first_n, last_n  any                 List of the column's type     n, skip_nan; ``order_by=``
top_k            plain               List of the column's type     n, skip_nan
quantile         number              Float64                       q, skip_nan
any, all         Bool                Bool
decayed_sum      number, Bool        Float64                       half_life, skip_nan
decayed_count    any, or None        Float64                       half_life, skip_nan
===============  ==================  ============================  ==============================================

With ``approx=True``, ``count_distinct``, ``quantile``, ``top_k`` and ``mode`` also take ``max_error`` (``approximations.py``).

"Plain" is every type but Struct. Of a Vector, numeric functions are taken element by element and give a Vector; of a List,
every function but count, decayed_count, first, last, first_n and last_n takes the elements as values of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from featurestore.registry import types as t
from featurestore.registry.types import DataType, Decimal, List, Struct, Vector

Accepts: TypeAlias = Literal["any", "plain", "number", "bool"]


@dataclass(frozen=True, slots=True)
class Function:
    """One aggregate function.

    Args:
        accepts: which column types it takes.
        output: the type of its answer, from the type of what it takes.
        required: parameters it must be given.
        whole: it treats a list or a vector as one value.
        without_column: it may count rows.
        ordered: it takes ``order_by=``.
        empty: its answer to an empty window, where that is not null.
    """

    name: str
    accepts: Accepts
    output: Callable[[DataType], DataType]
    required: tuple[str, ...] = ()
    whole: bool = False
    without_column: bool = False
    ordered: bool = False
    empty: int | float | tuple[()] | None = None

    @property
    def elementwise(self) -> bool:
        """Whether it is taken element by element of a vector."""
        return self.accepts == "number" or self.name in ("min", "max")


def _float(_: DataType) -> DataType:
    return t.Float64


def _integer(_: DataType) -> DataType:
    return t.Int64


def _same(data_type: DataType) -> DataType:
    return data_type


def _sum(data_type: DataType) -> DataType:
    match data_type:
        case Decimal(_, scale):
            return Decimal(38, scale)
        case t.UInt64:
            return t.UInt64
    return t.Float64 if data_type in t.FLOATS else t.Int64


def _bool(_: DataType) -> DataType:
    return t.Bool


FUNCTIONS: Final[dict[str, Function]] = {
    f.name: f
    for f in (
        Function("count", "any", _integer, whole=True, without_column=True, empty=0),
        Function("count_distinct", "plain", _integer, empty=0),
        Function("sum", "number", _sum),
        Function("mean", "number", _float),
        Function("var", "number", _float),
        Function("std", "number", _float),
        Function("min", "plain", _same),
        Function("max", "plain", _same),
        Function("mode", "plain", _same),
        Function("first", "any", _same, whole=True, ordered=True),
        Function("last", "any", _same, whole=True, ordered=True),
        Function("first_n", "any", List, required=("n",), whole=True, ordered=True, empty=()),
        Function("last_n", "any", List, required=("n",), whole=True, ordered=True, empty=()),
        Function("top_k", "plain", List, required=("n",), empty=()),
        Function("quantile", "number", _float, required=("q",)),
        Function("any", "bool", _bool),
        Function("all", "bool", _bool),
        Function("decayed_sum", "number", _float, required=("half_life",)),
        Function("decayed_count", "any", _float, required=("half_life",), whole=True, without_column=True, empty=0.0),
    )
}


def taken(function: Function, column: DataType) -> DataType:
    """What the function sees of a column: the column's type, or that of its elements."""
    if not function.whole and isinstance(column, List):
        return column.inner
    if function.elementwise and isinstance(column, Vector):
        return column.inner
    return column


def accepted(function: Function, seen: DataType) -> bool:
    """Whether the function takes values of the type."""
    match function.accepts:
        case "any":
            return True
        case "plain":
            return not isinstance(seen, Struct | List | Vector)
        case "bool":
            return seen == t.Bool
    return seen in t.INTEGERS | t.FLOATS or isinstance(seen, Decimal) or (seen == t.Bool and function.name != "quantile")


def output_type(function: Function, column: DataType | None) -> DataType:
    """The type of the answer."""
    if column is None:
        return function.output(t.Int64)
    answer = function.output(taken(function, column))
    return Vector(answer, column.size) if function.elementwise and isinstance(column, Vector) else answer
