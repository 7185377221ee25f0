"""Which source columns each output column of a query needs, resolved scope by scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from featurestore.registry.column_lineage import UnknownNeedsError
from featurestore.registry.feature_names import feature_names

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.registry.column_lineage import Needs
    from featurestore.registry.definitions import FeatureView


def query_needs(query: str, source: str, schema: pa.Schema, view: FeatureView) -> Needs:
    """From each output column of a DuckDB query to the columns of the source that decide it.

    What filters, joins, groups and orders with a limit read decides every output column of its scope.

    Raises:
        UnknownNeedsError: the query cannot be resolved.
    """
    # Only names matter here: every column is given one type.
    tables: dict[str, object] = {source: dict.fromkeys(schema.names, "VARCHAR")}
    try:
        tree = sqlglot.parse_one(query, dialect="duckdb")
        # Resolving folds names to lower case; DuckDB keeps them as the query or the table writes them.
        spelled = {name.lower(): name for name in schema.names}
        aliases = {alias.alias.lower(): alias.alias for alias in tree.find_all(exp.Alias)}
        qualified = qualify(tree, dialect="duckdb", schema=tables, quote_identifiers=False)
        root = build_scope(qualified)
        if root is None:
            raise UnknownNeedsError("the query is no select", feature_names(view) or ())
        resolver = _Resolver(source.lower())
        names = [column.alias_or_name for column in _selects(root)]
        found = {name: resolver.output(root, position) for position, name in enumerate(names)}
    except sqlglot.errors.SqlglotError as error:
        raise UnknownNeedsError(
            f"sqlglot cannot resolve its query: {error}".splitlines()[0], feature_names(view) or ()
        ) from error
    return {
        aliases.get(name) or spelled.get(name, name): frozenset(spelled[c.lower()] for c in columns if c.lower() in spelled)
        for name, columns in found.items()
    }


class _Resolver:
    """Follows columns down to the source's table."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._under_way: set[tuple[int, int]] = set()

    def output(self, scope: Scope, position: int) -> set[str]:
        """The source's columns that decide one output column of a scope."""
        key = (id(scope), position)
        if key in self._under_way:  # a recursive query: the rest of it is followed already
            return set()
        self._under_way.add(key)
        try:
            if scope.set_operation_scopes:
                found = {c for branch in scope.set_operation_scopes for c in self.output(branch, position)}
                if not isinstance(scope.expression, exp.Union) or scope.expression.args.get("distinct"):
                    found |= self._every_output(scope)  # which rows remain depends on whole rows
                return found
            selects = _selects(scope)
            own = self._columns(scope, selects[position]) if position < len(selects) else set()
            return own | self._conditions(scope)
        finally:
            self._under_way.discard(key)

    def _every_output(self, scope: Scope) -> set[str]:
        width = len(_selects(scope))
        return {c for branch in scope.set_operation_scopes for p in range(width) for c in self.output(branch, p)}

    def _conditions(self, scope: Scope) -> set[str]:
        """What the clauses beside the select list read: they decide which rows there are."""
        found: set[str] = set()
        for name, clause in scope.expression.args.items():
            if name in ("expressions", "with", "with_", "from", "from_") or (
                name == "order" and not scope.expression.args.get("limit")
            ):
                continue
            if isinstance(clause, exp.Group) and clause.args.get("all"):
                found |= {c for s in _selects(scope) if not s.find(exp.AggFunc) for c in self._columns(scope, s)}
            for part in clause if isinstance(clause, list) else [clause]:
                if isinstance(part, exp.Expression):
                    found |= self._columns(scope, part)
        return found

    def _columns(self, scope: Scope, tree: Any) -> set[str]:
        found: set[str] = set()
        for node in tree.walk(prune=lambda n: isinstance(n, exp.Subquery)):
            if isinstance(node, exp.Column):
                found |= self._column(scope, node)
        for below in scope.subquery_scopes:
            if _holds(tree, below.expression):
                found |= {c for p in range(len(_selects(below))) for c in self.output(below, p)}
        return found

    def _column(self, scope: Scope, column: exp.Column) -> set[str]:
        origin: Any = scope.sources.get(column.table)
        if isinstance(origin, exp.Table):
            return {column.name} if origin.name.lower() == self._source else set()
        if isinstance(origin, Scope):
            names = [select.alias_or_name.lower() for select in _selects(origin)]
            wanted = column.name.lower()
            return self.output(origin, names.index(wanted)) if wanted in names else self._all(origin)
        return self._column(scope.parent, column) if scope.parent is not None else set()

    def _all(self, scope: Scope) -> set[str]:
        return {c for p in range(len(_selects(scope))) for c in self.output(scope, p)}


def _selects(scope: Scope) -> list[Any]:
    query: Any = scope.expression
    return list(query.selects)


def _holds(tree: Any, part: Any) -> bool:
    return any(node is part for node in tree.walk())
