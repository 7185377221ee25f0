"""Row conditions: which rows an expectation speaks about.

Three spellings are read, all into one Polars expression that is true or false and never null:

- Great Expectations' condition objects as JSON, and its older text ``col("x") > 5``, ``col("x").notNull()``;
- pandas' ``query`` text with comparisons: ``x > 5 and y in ["a", "b"]``, ``(x > 5) & ~(y == "a")``, `` `my column` == 1``;
- an SQL expression as Polars reads it: ``x > 5 AND y IS NOT NULL``.

In the first two a comparison with a missing value is false, except ``!=`` and ``not in``, which are true (as pandas has it);
in SQL it is unknown, and a row whose condition is unknown is left out, while NaN is a value there, the greatest of all.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final

import polars as pl

from featurestore.errors import DefinitionError
from featurestore.validation.columns import Columns

_COMPARISONS: Final[dict[str, Callable[[pl.Expr, Any], pl.Expr]]] = {
    "==": lambda a, b: (a == b).fill_null(value=False),
    "!=": lambda a, b: (a != b).fill_null(value=True),
    "<": lambda a, b: (a < b).fill_null(value=False),
    "<=": lambda a, b: (a <= b).fill_null(value=False),
    ">": lambda a, b: (a > b).fill_null(value=False),
    ">=": lambda a, b: (a >= b).fill_null(value=False),
}
_OPERATORS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "IN",
    ast.NotIn: "NOT_IN",
}
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NULL_TESTS: Final = {"isnull": True, "isna": True, "isNull": True, "notnull": False, "notna": False, "notNull": False}
_HINT: Final = 'write col("x") > 5, x > 5 and y == "a", or SQL: x > 5 AND y IS NOT NULL'


def parse_condition(condition: Any, columns: Columns | None) -> pl.Expr:
    """The rows that a row condition selects, as an expression without nulls.

    Args:
        condition: text, or the JSON form of a Great Expectations condition.
        columns: of the frame; None checks the spelling only.

    Raises:
        DefinitionError: the condition cannot be read, or names a column that does not exist.
    """
    reader = _Reader(columns)
    if isinstance(condition, Mapping):
        return reader.from_json(condition)
    if not isinstance(condition, str) or not condition.strip():
        raise DefinitionError(f"row_condition {condition!r} cannot be read", hint=_HINT)
    try:
        tree = ast.parse(_pandas_to_python(condition.strip()), mode="eval").body
    except (SyntaxError, tokenize.TokenError):
        return reader.from_sql(condition)
    return reader.from_python(tree)


class _Reader:
    def __init__(self, columns: Columns | None) -> None:
        self.columns = columns

    def column(self, name: str) -> pl.Expr:
        return self.columns.value(name) if self.columns else pl.col(name)

    def compare(self, name: str, operator: str, value: Any) -> pl.Expr:
        if operator in ("IN", "NOT_IN"):
            if not isinstance(value, list | tuple | set):
                raise DefinitionError(f"row_condition: {value!r} is no list of values", hint=_HINT)
            inside = (self.columns.is_in(name, value) if self.columns else pl.col(name).is_in(list(value))).fill_null(
                value=False
            )
            return inside if operator == "IN" else ~inside
        if value is None:
            raise DefinitionError("row_condition: nothing equals a missing value", hint='write col("x").notNull()')
        return _COMPARISONS[operator](self._left(name), self._literal(name, value))

    def _left(self, name: str) -> pl.Expr:
        if self.columns is None:
            return pl.col(name)
        return self.columns.key(name) if self.columns.dtype(name) == pl.Boolean else self.columns.comparable(name)

    def _literal(self, name: str, value: Any) -> Any:
        return self.columns.literal(name, value) if self.columns else value

    def from_json(self, data: Mapping[str, Any]) -> pl.Expr:
        match data:
            case {"type": "comparison", "column": {"name": str(name)}, "operator": str(operator), "parameter": value} if (
                operator in _COMPARISONS or operator in ("IN", "NOT_IN")
            ):
                return self.compare(name, operator, value)
            case {"type": "nullity", "column": {"name": str(name)}, "is_null": bool(is_null)}:
                missing = self.column(name).is_null()
                return missing if is_null else ~missing
            case {"type": "and" | "or" as kind, "conditions": [_, *_] as parts}:
                read = [self.from_json(part) for part in parts]
                return reduce(lambda a, b: a & b if kind == "and" else a | b, read)
            case {"type": "pass_through", "pass_through_filter": str(text)}:
                return parse_condition(text, self.columns)
        raise DefinitionError(f"row_condition {dict(data)!r} cannot be read", hint=_HINT)

    def from_sql(self, text: str) -> pl.Expr:
        try:
            expression = pl.sql_expr(text)
        except (pl.exceptions.PolarsError, BaseExceptionGroup) as error:
            raise DefinitionError(f"row_condition {text!r} cannot be read: {error}", hint=_HINT) from None
        names = expression.meta.root_names()
        if not names:
            raise DefinitionError(f"row_condition {text!r} names no column", hint=_HINT)
        if self.columns:
            for name in names:
                self.columns.dtype(name)
            if pl.LazyFrame(schema=self.columns.schema).select(expression).collect_schema().dtypes() != [pl.Boolean]:
                raise DefinitionError(f"row_condition {text!r} is neither true nor false", hint=_HINT)
        return expression.fill_null(value=False)

    def from_python(self, node: ast.expr) -> pl.Expr:
        match node:
            case ast.BoolOp(op=op, values=values):
                read = [self.from_python(value) for value in values]
                return reduce(lambda a, b: a & b if isinstance(op, ast.And) else a | b, read)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.from_python(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                tests = [self._comparison(a, op, b) for a, op, b in zip(sides, ops, sides[1:], strict=False)]
                return reduce(lambda a, b: a & b, tests)
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=[]) if attr in _NULL_TESTS:
                name = _column_name(value)
                if name is not None:
                    missing = self.column(name).is_null()
                    return missing if _NULL_TESTS[attr] else ~missing
            case _ if (name := _column_name(node)) is not None:
                if self.columns and self.columns.dtype(name) != pl.Boolean:
                    raise DefinitionError(f"row_condition: column {name!r} is neither true nor false", hint=_HINT)
                return pl.col(name).fill_null(value=False)
        raise DefinitionError(f"row_condition {ast.unparse(node)!r} cannot be read", hint=_HINT)

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pl.Expr:
        operator = _OPERATORS.get(type(op))
        left_name, right_name = _column_name(left), _column_name(right)
        if operator is None or (left_name is None and right_name is None):
            raise DefinitionError(f"row_condition: {ast.unparse(left)!r} is compared with no column", hint=_HINT)
        if left_name is not None and right_name is not None and operator in _COMPARISONS:
            return _COMPARISONS[operator](self._left(left_name), self._left(right_name))
        if left_name is not None:
            return self.compare(left_name, operator, _value(right))
        if operator not in _MIRRORED or right_name is None:
            raise DefinitionError(f"row_condition: {ast.unparse(left)!r} is no column", hint=_HINT)
        return self.compare(right_name, _MIRRORED[operator], _value(left))


def _column_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name.removeprefix(_QUOTED).replace(_SPACE, " ") if name.startswith(_QUOTED) else name
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))]):
            return name
    return None


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise DefinitionError(f"row_condition: {ast.unparse(node)!r} is no value", hint=_HINT) from None


_QUOTED: Final = "quoted__"
_SPACE: Final = "__space__"
_WORDS: Final = {"&": "and", "|": "or", "~": "not"}


def _pandas_to_python(text: str) -> str:
    """pandas reads ``& | ~`` as and, or, not, and backticks as quotes of a column name."""
    plain = "".join(
        _QUOTED + part.replace(" ", _SPACE) if position % 2 else part for position, part in enumerate(text.split("`"))
    )
    tokens = tokenize.generate_tokens(io.StringIO(plain).readline)
    return " ".join(_WORDS.get(token.string, token.string) for token in tokens if token.string.strip())
