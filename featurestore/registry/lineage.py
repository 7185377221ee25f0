"""Lineage: which source columns each feature comes from, and which services it reaches.

Nodes are written ``kind:name``: ``column:flights.arr_delay``, ``feature:plane_delays.delay_hours``,
``request:request_features.sched_dep``, ``service:delay_model``. An edge says that the value, or whether there is one, may
depend: what a filter, a join or a grouping reads counts. The join keys and the event time, by which every feature is looked up,
are listed only where a transform computes with them.

How a view's columns are found out:

- aggregations and views of the source's own rows say it themselves;
- a Polars function is run once over a source of the frozen schema without rows, and each output column is asked for alone: what
  Polars' projection pushdown then reads of the source is what the column needs (it may name a column more, never one less);
- a SQL query is resolved scope by scope with sqlglot.

Where none of these is possible (no schema yet, the code is not at hand, eager or opaque code) each feature is taken to need
every column, and the view is listed in :attr:`Lineage.at_view_level` with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featurestore.errors import NotFoundError
from featurestore.registry.column_lineage import Needs, UnknownNeedsError, view_needs
from featurestore.registry.definitions import Definitions, FeatureReference, OnDemandFeatureView
from featurestore.registry.feature_names import feature_names

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "*"
"""In place of a column or feature: all of them, where they are not known one by one."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """A directed graph from source columns to services.

    Args:
        edges: from each node to those that it comes from directly.
        at_view_level: views whose features could not be told apart, with the reason.
    """

    edges: Mapping[str, frozenset[str]]
    at_view_level: Mapping[str, str]
    _reverse: Mapping[str, frozenset[str]] = field(repr=False, compare=False, default_factory=dict)

    @property
    def nodes(self) -> frozenset[str]:
        """Every node."""
        return frozenset(self.edges)

    def upstream(self, node: str, *, direct: bool = False) -> frozenset[str]:
        """What a node comes from, in any number of steps, or in one.

        Args:
            node: a node, or its name without the kind (``"delay_model"``, ``"plane_delays.wind"``); the name of a source or
                view stands for all its columns or features.

        Raises:
            NotFoundError: there is no such node.
        """
        return self._reached(node, self.edges, direct=direct)

    def downstream(self, node: str, *, direct: bool = False) -> frozenset[str]:
        """What depends on a node, in any number of steps, or in one; ``node`` as in :meth:`upstream`."""
        return self._reached(node, self._reverse, direct=direct)

    def to_dict(self) -> dict[str, Any]:
        """The graph as JSON data."""
        edges = [{"from": source, "to": node} for node in sorted(self.edges) for source in sorted(self.edges[node])]
        return {"nodes": sorted(self.edges), "edges": edges, "at_view_level": dict(sorted(self.at_view_level.items()))}

    def _reached(self, node: str, edges: Mapping[str, frozenset[str]], *, direct: bool) -> frozenset[str]:
        start = self._find(node)
        found = frozenset(n for s in start for n in edges.get(s, ()))
        if direct:
            return found
        waiting = list(found)
        while waiting:
            new = edges.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting += new
        return found - start

    def _find(self, node: str) -> frozenset[str]:
        if node in self.edges:
            return frozenset({node})
        matching = frozenset(n for n in self.edges if n.split(":", 1)[1] == node)
        matching = matching or frozenset(n for n in self.edges if n.split(":", 1)[1].startswith(f"{node}."))
        if not matching:
            raise NotFoundError("lineage node", node, self.edges)
        return matching


def make_lineage(definitions: Definitions, source_schemas: Mapping[str, pa.Schema]) -> Lineage:
    """The lineage of definitions.

    Args:
        source_schemas: frozen schemas by source. Living functions of views are run on empty frames of these.
    """
    builder = _Builder(definitions, source_schemas)
    for source in definitions.sources.values():
        builder.add_source(source.name)
    for view in definitions.views.values():
        builder.add_view(view.name)
    for on_demand in definitions.on_demand_views.values():
        builder.add_on_demand(on_demand)
    for service in definitions.services.values():
        builder.add(f"service:{service.name}", builder.referred(service.features))
    return builder.lineage()


class _Builder:
    def __init__(self, definitions: Definitions, source_schemas: Mapping[str, pa.Schema]) -> None:
        self._definitions = definitions
        self._schemas = source_schemas
        self._edges: dict[str, set[str]] = {}
        self._features: dict[str, tuple[str, ...]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, node: str, sources: Iterable[str]) -> None:
        own = self._edges.setdefault(node, set())
        for source in sources:
            own.add(source)
            self._edges.setdefault(source, set())

    def add_source(self, name: str) -> None:
        for column in self._columns(name) or (ALL,):
            self.add(f"column:{name}.{column}", ())

    def add_view(self, name: str) -> None:
        view = self._definitions.views[name]
        every = self._columns(view.source) or (ALL,)
        needs: Needs
        try:
            needs = view_needs(view, self._definitions.sources.get(view.source), self._schemas.get(view.source))
        except UnknownNeedsError as unknown:
            self._reasons[name] = unknown.reason
            needs = dict.fromkeys(unknown.features or feature_names(view) or (ALL,), frozenset(every))
        self._features[name] = tuple(needs)
        for feature, columns in needs.items():
            self.add(f"feature:{name}.{feature}", (f"column:{view.source}.{column}" for column in columns))

    def add_on_demand(self, view: OnDemandFeatureView) -> None:
        """Each feature comes from all that its function gets: the function is opaque."""
        sources = [f"request:{view.name}.{f.name}" for f in view.request_fields] + self.referred(view.references)
        for feature in feature_names(view) or (ALL,):
            self.add(f"feature:{view.name}.{feature}", sources)

    def referred(self, references: Iterable[FeatureReference]) -> list[str]:
        nodes: list[str] = []
        for reference in references:
            names = reference.features or self._features.get(reference.view)
            if names is None:
                on_demand = self._definitions.on_demand_views.get(reference.view)
                names = (feature_names(on_demand) if on_demand else None) or (ALL,)
            nodes += [f"feature:{reference.view}.{name}" for name in names]
        return nodes

    def lineage(self) -> Lineage:
        reverse: dict[str, set[str]] = {}
        for node, sources in self._edges.items():
            for source in sources:
                reverse.setdefault(source, set()).add(node)
        return Lineage(_frozen(self._edges), dict(self._reasons), _frozen(reverse))

    def _columns(self, source: str) -> tuple[str, ...] | None:
        schema = self._schemas.get(source)
        if schema is not None:
            return tuple(name for name in schema.names if not name.startswith("__"))
        known = self._definitions.sources.get(source)
        return tuple(f.name for f in known.schema) or None if known else None


def _frozen(edges: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {node: frozenset(found) for node, found in edges.items()}
