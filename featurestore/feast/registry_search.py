"""Searching definitions by word as Feast's registry server does: the same kinds, scores, order and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from featurestore.feast.convert import FEAST_NAME
from featurestore.registry.definitions import Definition, Definitions, FeatureView, OnDemandFeatureView
from featurestore.registry.feature_names import feature_names
from featurestore.registry.records import Field

SortBy = Literal["match_score", "name", "type"]
_NAME, _DESCRIPTION, _TAG = 100, 80, 60
_ALIKE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that can be found.

    Args:
        kind: in Feast's words.
        view: of a feature, the view that has it.
    """

    kind: str
    name: str
    description: str
    tags: Mapping[str, str]
    view: str | None = None


def resources(definitions: Definitions) -> Iterator[Resource]:
    """Everything that is applied, under Feast's names: entities, sources, views, features, services."""
    for entity in definitions.entities.values():
        yield _resource("entity", entity)
    for source in definitions.sources.values():
        yield _resource("dataSource", source)
    views: list[FeatureView | OnDemandFeatureView] = [*definitions.views.values(), *definitions.on_demand_views.values()]
    for view in views:
        yield _resource("featureView", view)
    for view in views:
        described = {f.name: f.description for f in view.features or () if isinstance(f, Field)}
        for name in feature_names(view) or ():
            yield Resource("feature", name, described.get(name, ""), {}, _resource("featureView", view).name)
    for service in definitions.services.values():
        yield _resource("featureService", service)


def search(definitions: Definitions, query: str, tags: Mapping[str, str], *, sort_by: SortBy, ascending: bool) -> list[Any]:
    """What matches, as Feast's server tells it.

    A word in the name counts 100, in the description 80, in a tag 60; else a tag or a name that shares three quarters of its
    letters counts by that share. An empty query matches everything.

    Args:
        tags: what the definitions must carry.
    """
    found = []
    for resource in resources(definitions):
        if resource.kind != "feature" and not tags.items() <= resource.tags.items():
            continue
        matched, score = _match(query.lower(), resource)
        if query and score is None:
            continue
        about = {"type": resource.kind, "name": resource.name, "description": resource.description}
        owner = {} if resource.view is None else {"featureView": resource.view}
        found.append({**about, **owner, "matched_tags": matched, **({} if score is None else {"match_score": score})})
    return sorted(found, key=lambda result: result.get(sort_by, 0), reverse=not ascending)


def page_of(found: list[Any], page: int, limit: int) -> tuple[list[Any], dict[str, Any]]:
    """A page of results, counted from 1, and what Feast's server says about it.

    >>> page_of(["a", "b", "c"], 2, 2)
    (['c'], {'page': 2, 'limit': 2, 'totalCount': 3, 'totalPages': 2, 'hasPrevious': True})
    """
    start = (page - 1) * limit
    about: dict[str, Any] = {"page": page, "limit": limit}
    if found:
        about |= {"totalCount": len(found), "totalPages": -(-len(found) // limit)}
    if start + limit < len(found):
        about["hasNext"] = True
    if start > 0:
        about["hasPrevious"] = True
    return found[start : start + limit], about


def _resource(kind: str, definition: Definition) -> Resource:
    tags = dict(definition.metadata.tags)
    name = tags.pop(FEAST_NAME, definition.name)
    return Resource(kind, name, definition.metadata.description, tags)


def _match(query: str, resource: Resource) -> tuple[dict[str, str], float | None]:
    if not query:
        return dict(resource.tags), None
    pairs = {name: f"{name}={value}".lower() for name, value in resource.tags.items()}
    shares = {name: 1.0 if query in text else _alike(query, text) for name, text in pairs.items()}
    matched = {name: resource.tags[name] for name, share in shares.items() if share >= _ALIKE}
    if query in resource.name.lower():
        return matched, _NAME
    if query in resource.description.lower():
        return matched, _DESCRIPTION
    if any(query in text for text in pairs.values()):
        return matched, _TAG
    share = max((shares[name] for name in matched), default=None) or _alike(query, resource.name.lower())
    return matched, share * 100 if share >= _ALIKE else None


def _alike(one: str, other: str) -> float:
    """How much of the letters of both are in each."""
    both = set(one) | set(other)
    return len(set(one) & set(other)) / len(both) if both else 0.0
