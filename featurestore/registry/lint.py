"""Transforms that look ahead: found in their text, before any data is read.

A row of a view may depend on rows at or before its own event time only. The lint reads the syntax of Polars (and pandas) code
and of SQL, and knows the usual ways of breaking this; it cannot know all. ``allow_future=True`` on the view overrules it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, TypeAlias

from featurestore.errors import DefinitionError
from featurestore.registry.definitions import FeatureView

Finding: TypeAlias = tuple[str, str]
"""What looks ahead, and how to mend it."""

_OVERRULE: Final = "or, if this view may look ahead, say allow_future=True"
_WINDOWS: Final = 'use aggregations=[Aggregation("column", "mean", windows=["7d"])], which end at each instant'
_WHOLE: Final = frozenset(
    [
        "sum",
        "mean",
        "median",
        "min",
        "max",
        "std",
        "var",
        "count",
        "len",
        "n_unique",
        "quantile",
        "mode",
        "product",
        "any",
        "all",
        "last",
        "rank",
        "value_counts",
        "top_k",
        "bottom_k",
        "arg_max",
        "arg_min",
        "nunique",
        "implode",
    ]
)
_SHIFTS: Final = frozenset({"shift", "diff", "pct_change"})
_FILLS: Final = frozenset({"backward_fill", "bfill", "backfill", "interpolate", "interpolate_by"})
_AHEAD_STRATEGIES: Final = frozenset({"backward", "bfill", "backfill", "max", "min", "mean"})
_NAMESPACES: Final = frozenset({"list", "arr", "str", "struct", "dt", "bin", "cat"})


def lint_view(view: FeatureView, event_time: str) -> list[DefinitionError]:
    """Where a view's transform, or a helper function that it calls, looks ahead. Nothing with ``allow_future=True``.

    Args:
        event_time: the column of the source's event time; a group of one instant holds nothing later.
    """
    if view.transform is None or view.allow_future:
        return []
    if view.mode == "sql":
        found = list(_lint_sql(view.transform.text, event_time=event_time))
    else:
        texts = [view.transform.text, *(text for _, text in view.transform.requires)]
        found = [finding for text in texts for finding in _lint_python(text, event_time=event_time)]
    location = str(view.location) if view.location else None
    return [
        DefinitionError(
            f"feature view {view.name!r}, function {view.transform.name!r}: {message}",
            location=location,
            hint=f"{mend}; {_OVERRULE}",
        )
        for message, mend in dict.fromkeys(found)
    ]


# -- Python --------------------------------------------------------------------------------------------------------------


def _lint_python(text: str, *, event_time: str) -> Iterator[Finding]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        if isinstance(call.func, ast.Attribute) and not _is_of_one_instant(call, call.func.attr, event_time):
            yield from _look_ahead(call, call.func.attr)
            yield from _whole_groups(call, call.func.attr, parents)


def _is_of_one_instant(call: ast.Call, name: str, event_time: str) -> bool:
    """Whether rows are grouped, or told apart, by the event time as it is."""
    if name not in ("group_by", "groupby", "unique", "drop_duplicates"):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in ("by", "subset"))]
    items = [item for arg in given for item in (arg.elts if isinstance(arg, ast.List | ast.Tuple) else [arg])]
    return any(_text(item) == event_time or ast.unparse(item) == f"pl.col({event_time!r})" for item in items)


def _look_ahead(call: ast.Call, name: str) -> Iterator[Finding]:
    shown = _shown(call)
    if name in _SHIFTS and _is_negative(_argument(call, 0, "n", "periods")):
        yield f"{shown} takes values of later rows", "shift by a positive number of rows"
    if name.startswith("cum") and (_is_true(_argument(call, 0, "reverse")) or "reverse" in _chain(call)):
        yield f"{shown} adds up from the last row", "leave out reverse"
    if name in _FILLS:
        yield f"{shown} fills with later values", "use forward_fill()"
    strategy = _text(_argument(call, 1, "strategy", "method"))
    if name in ("fill_null", "fillna") and strategy in _AHEAD_STRATEGIES:
        yield f"{shown} fills with values that other, later rows decide", 'use strategy="forward" or a constant'
    if name == "join_asof" and _text(_argument(call, 99, "strategy")) in ("forward", "nearest"):
        yield f"{shown} joins later rows", 'use strategy="backward"'
    if name.startswith("rolling") and _is_true(_argument(call, 99, "center")):
        yield f"{shown} centres its window, so that half of it is ahead", "leave out center"
    if name == "rolling" and (offset := _text(_argument(call, 99, "offset"))) and not offset.startswith("-"):
        yield f"{shown} has a window that starts at its row", "leave out offset"
    if name == "group_by_dynamic" and _text(_argument(call, 99, "label")) != "right":
        yield f"{shown} gives a window the time of its start, before its rows happened", 'use label="right", closed="left"'
    if name in ("unique", "drop_duplicates") and _text(_argument(call, 99, "keep")) in ("last", "none"):
        yield (
            f"{shown} drops a row because of a later one",
            'use keep="first" after a sort; look-ups take the newest row anyway',
        )


def _whole_groups(call: ast.Call, name: str, parents: dict[ast.AST, ast.AST]) -> Iterator[Finding]:
    """Aggregates of all rows of a group or of the table, which later rows change."""
    if name in ("group_by", "groupby"):
        yield f"{_shown(call)} aggregates all rows of a group, later ones too", _WINDOWS
    elif name in _WHOLE and _is_expression(call) and not _is_bounded(call, parents):
        outer = next((c for c in _outer_chain(call, parents) if _attribute(c) == "over"), call)
        of = "a group" if outer is not call else "the table"
        yield f"{_shown(outer)} aggregates all rows of {of}, later ones too", _WINDOWS


def _is_expression(call: ast.Call) -> bool:
    """Whether a method is called on a Polars column expression, and not on its lists or strings."""
    names = _chain(call)
    return "col" in names and not _NAMESPACES & set(names[: names.index("col")])


def _is_bounded(call: ast.Call, parents: dict[ast.AST, ast.AST]) -> bool:
    """Inside group_by().agg() it was found there; followed by rolling() its window ends at the row."""
    if any(_attribute(outer) == "rolling" for outer in _outer_chain(call, parents)):
        return True
    node: ast.AST | None = call
    while node is not None:
        if isinstance(node, ast.Call) and _attribute(node) == "agg":
            return True
        node = parents.get(node)
    return False


def _outer_chain(call: ast.Call, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.Call]:
    """The calls further along the same chain: of ``a.sum().over("k")``, seen from ``sum``, that of ``over``."""
    node = parents.get(call)
    while isinstance(node, ast.Attribute | ast.Call | ast.BinOp | ast.UnaryOp):
        if isinstance(node, ast.Call):
            if _attribute(node) in ("with_columns", "select", "filter", "sort", "agg"):
                return
            yield node
        node = parents.get(node)


def _chain(call: ast.Call) -> list[str]:
    """The names along a chain of calls, from its end to its root."""
    names: list[str] = []
    node: ast.AST = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Name):
            return [*names, node.id]
        else:  # an operator between expressions
            return [*names, "col"] if any(_is_col(inner) for inner in ast.walk(node)) else names


def _is_col(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "col") or (isinstance(node, ast.Name) and node.id == "col")


def _attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg in names:
            return keyword.value
    return call.args[position] if position < len(call.args) else None


def _is_negative(node: ast.expr | None) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 else f"...{text[-77:]}"


# -- SQL -----------------------------------------------------------------------------------------------------------------


def _lint_sql(query: str, *, event_time: str) -> Iterator[Finding]:
    import sqlglot
    from sqlglot import exp

    try:
        tree = sqlglot.parse_one(query, dialect="duckdb")
    except sqlglot.errors.SqlglotError:
        return  # the engine names the fault better when it plans the query
    for window in tree.find_all(exp.Window):
        shown = window.sql(dialect="duckdb")
        spec = window.args.get("spec")
        if isinstance(window.this, exp.Lead):
            yield f"{shown} takes values of later rows", "use lag"
        elif spec is not None and "FOLLOWING" in spec.sql(dialect="duckdb").upper():
            yield f"{shown} has a frame that reaches ahead", "end the frame at CURRENT ROW"
        elif window.args.get("order") is None and isinstance(window.this, exp.AggFunc):
            yield f"{shown} aggregates all rows of a group, later ones too", "order by the event time, or use aggregations"
    for group in tree.find_all(exp.Group):
        if any(isinstance(key, exp.Column) and key.name.lower() == event_time.lower() for key in group.expressions):
            continue
        yield f"{group.sql(dialect='duckdb')} aggregates all rows of a group, later ones too", _WINDOWS
