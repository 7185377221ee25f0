"""Expressions that answer each row from that row alone, told by their JSON form: nothing is loaded to know it."""

from __future__ import annotations

from typing import Any, Final

# What Polars calls the nodes of expressions, in their JSON form, that answer each row from that row alone.
_ROW_WISE_NODES: Final = frozenset(
    {
        "Column",
        "Selector",
        "Literal",
        "Alias",
        "Cast",
        "BinaryExpr",
        "Ternary",
        "KeepName",
        "RenameAlias",
        "Field",
        "StructEval",
    }
)
_ROW_WISE_FUNCTIONS: Final = frozenset(
    {
        "Abs", "ArrayExpr", "AsStruct", "Atan2", "BinaryExpr", "CategoricalExpr", "Cbrt", "Ceil", "Clip", "Coalesce",
        "Exp", "Expm1", "FillNull", "Floor", "Hash", "ListExpr", "Log", "Log1p", "MaxHorizontal", "MeanHorizontal",
        "MinHorizontal", "Negate", "Pow", "PowExpr", "Replace", "ReplaceStrict", "Round", "RoundSF",
        "RoundSignificant", "Sign", "Sqrt", "StringExpr", "StructExpr", "SumHorizontal", "TemporalExpr",
        "Trigonometry", "Truncate", "Unary",
    }
)  # fmt: skip
_ROW_WISE_BOOLEANS: Final = frozenset(
    {
        "AllHorizontal", "AnyHorizontal", "IsBetween", "IsFinite", "IsIn", "IsInfinite", "IsNan", "IsNotNan",
        "IsNotNull", "IsNull", "IsClose", "Not",
    }
)  # fmt: skip


def treats_rows_alone(node: Any) -> bool:
    """Whether an expression, in the JSON form of Polars, answers each row from that row alone.

    >>> treats_rows_alone({"Column": "a"}), treats_rows_alone("Len")
    (True, False)
    """
    if isinstance(node, str):  # nodes without arguments, such as "Len"
        return node in ("Element", "Wildcard")
    kind, content = next(iter(node.items()))
    if kind == "Function":
        return _function_alone(content["function"]) and all(treats_rows_alone(part) for part in content["input"])
    if kind == "Eval":  # runs within the list of one row
        return treats_rows_alone(content["expr"])
    if kind not in _ROW_WISE_NODES:
        return False
    if kind == "Literal":
        return not (isinstance(content, dict) and {"Series", "Range"} & content.keys())
    if kind in ("Column", "Selector", "Field"):
        return True
    return all(treats_rows_alone(part) for part in _children(kind, content))


def _children(kind: str, content: Any) -> list[Any]:
    if isinstance(content, list):
        return [part for part in content[:1] if isinstance(part, dict)]
    names = {"Cast": ["expr"], "BinaryExpr": ["left", "right"], "Ternary": ["predicate", "truthy", "falsy"]}
    named = names.get(kind, ["expr", "evaluation"])
    parts = [content[name] for name in named if name in content]
    return [p for part in parts for p in (part if isinstance(part, list) else [part])] or ["unknown"]


def _function_alone(function: Any) -> bool:
    name, detail = (function, None) if isinstance(function, str) else next(iter(function.items()))
    detail_name = detail if isinstance(detail, str) else next(iter(detail), "") if isinstance(detail, dict) else ""
    if name == "Boolean":
        return detail_name in _ROW_WISE_BOOLEANS
    if name == "StringExpr" and detail_name == "ConcatVertical":
        return False
    return name in _ROW_WISE_FUNCTIONS
