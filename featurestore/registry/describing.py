"""Definitions as texts, field by field: what a plan compares and shows."""

from __future__ import annotations

import json
from typing import Any

from featurestore.registry.aggregation_checks import aggregation_problems
from featurestore.registry.aggregations import Aggregation, Window
from featurestore.registry.approximations import APPROXIMATIONS, error_bound
from featurestore.registry.definitions import (
    Definition,
    Entity,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
)
from featurestore.registry.feature_names import stem
from featurestore.registry.records import Expectation, Field, Metadata, SourceCode
from featurestore.time import format_duration


def describe(definition: Definition) -> dict[str, str]:
    """A definition's fields as texts, without those that are empty or at their default. Lists take a line each.

    >>> from featurestore import Entity, types as t
    >>> describe(Entity("plane", join_keys={"tailnum": t.String}, owner="ops"))
    {'join_keys': 'tailnum: String', 'owner': 'ops'}
    """
    found = {**_own(definition), **_metadata(definition.metadata)}
    return {name: text for name, text in found.items() if text}


def metadata_fields() -> frozenset[str]:
    """The fields that are words about a definition."""
    return frozenset({"description", "owner", "tags", "field_descriptions"})


def _own(definition: Definition) -> dict[str, str]:
    match definition:
        case Entity():
            return {"join_keys": _fields(definition.join_keys), "field_descriptions": _described(definition.join_keys)}
        case EventSource():
            return _source(definition)
        case FeatureView():
            return _view(definition)
        case OnDemandFeatureView():
            return {
                "sources": _lines(_on_demand_source(s) for s in definition.sources),
                "features": _fields(definition.features),
                "field_descriptions": _described((*definition.features, *definition.request_fields)),
                **_code("transform", definition.transform),
            }
        case FeatureService():
            return {"features": _lines(reference_text(r) for r in definition.features)}


def _source(source: EventSource) -> dict[str, str]:
    return {
        "event_time": source.event_time,
        "arrival_time": source.arrival_time or "",
        "sequence": source.sequence or "",
        "timezone": "" if source.timezone == "UTC" else source.timezone,
        "schema": _fields(source.schema),
        "field_descriptions": _described(source.schema),
        "format": source.format or "",
        "pattern": source.pattern or "",
        "read_options": _lines(f"{key}: {json.dumps(value)}" for key, value in json.loads(source.read_options).items()),
        "invalid_event_time": "" if source.invalid_event_time == "reject" else source.invalid_event_time,
        "expectations": _lines(_expectation(e) for e in source.expectations),
        **_code("prepare", source.prepare),
    }


def _view(view: FeatureView) -> dict[str, str]:
    typed = tuple(f for f in view.features or () if isinstance(f, Field))
    return {
        "entities": _lines(f"{e.name} ({_fields(e.join_keys).replace(chr(10), ', ')})" for e in view.entities),
        "source": view.source,
        "mode": "" if view.mode == "polars" else view.mode,
        "ttl": "" if view.ttl is None else format_duration(view.ttl),
        "features": _lines(f if isinstance(f, str) else f"{f.name}: {f.type!r}" for f in view.features or ()),
        "field_descriptions": _described(typed),
        "aggregations": _lines(aggregation_text(a) for a in view.aggregations),
        "derived": _lines(f"{name} = {expression.text}" for name, expression in view.derived),
        "last_non_null": "True" if view.last_non_null else "",
        "expectations": _lines(_expectation(e) for e in view.expectations),
        "online": "" if view.online else "False",
        "allow_future": "True" if view.allow_future else "",
        "max_block_bytes": "" if view.max_block_bytes == 1 << 20 else str(view.max_block_bytes),
        "on_overflow": "" if view.on_overflow == "error" else view.on_overflow,
        **_code("transform", view.transform),
    }


def aggregation_text(aggregation: Aggregation) -> str:
    """An aggregation on one line.

    >>> from featurestore import Aggregation, sawtooth
    >>> aggregation_text(Aggregation("arr_delay", "mean", windows=["1d", sawtooth("7d")], delay="5m"))
    'arr_delay_mean: mean(arr_delay) over 1d, sawtooth 7d hop 1h; delay 5m'
    """
    options: list[tuple[str, Any]] = [
        ("where", aggregation.where.text if aggregation.where else None),
        ("bounds", None if aggregation.bounds == "[)" else aggregation.bounds),
        ("delay", format_duration(aggregation.delay) if aggregation.delay else None),
        ("empty", aggregation.empty),
        ("approx", True if aggregation.approx else None),
        ("error", _error(aggregation)),
        ("order by", aggregation.order_by),
        ("by", aggregation.by),
        *json.loads(aggregation.parameters).items(),
    ]
    windows = ", ".join(_window(w) for w in aggregation.windows)
    said = "".join(f"; {name} {value}" for name, value in options if value is not None)
    return f"{stem(aggregation)}: {aggregation.function}({aggregation.column or '*'}) over {windows}{said}"


def _error(aggregation: Aggregation) -> str | None:
    """How far off an approximate aggregation may be; nothing of one that is refused, which a plan shows as well."""
    bound = None if aggregation_problems([aggregation]) else error_bound(aggregation)
    return None if bound is None else f"{bound:.3g} ({APPROXIMATIONS[aggregation.function].measure})"


def reference_text(reference: FeatureReference) -> str:
    """A reference on one line: ``view[a, b] as alias by key=column``."""
    names = "" if reference.features is None else f"[{', '.join(reference.features)}]"
    alias = f" as {reference.alias}" if reference.alias else ""
    keys = " by " + ", ".join(f"{key}={column}" for key, column in reference.join_key_map) if reference.join_key_map else ""
    return f"{reference.view}{names}{alias}{keys}"


def _window(window: Window) -> str:
    if window.kind == "lifetime":
        return "lifetime"
    kind = "" if window.kind == "sliding" else f"{window.kind} "
    hop = f" hop {format_duration(window.hop)}" if window.hop else ""
    return f"{kind}{format_duration(window.width)}{hop}"


def _on_demand_source(source: FeatureReference | RequestSource) -> str:
    if isinstance(source, RequestSource):
        return f"request ({_fields(source.schema).replace(chr(10), ', ')})"
    return reference_text(source)


def _expectation(expectation: Expectation) -> str:
    severity = "" if expectation.severity == "critical" else f", {expectation.severity}"
    return f"{expectation.type} {expectation.kwargs} ({expectation.policy}{severity})"


def _code(name: str, code: SourceCode | None) -> dict[str, str]:
    if code is None:
        return {}
    return {name: code.text.rstrip("\n"), **{f"{name} uses {key}": text.rstrip("\n") for key, text in code.requires}}


def _fields(fields: tuple[Field, ...]) -> str:
    return _lines(f"{f.name}: {f.type!r}" for f in fields)


def _described(fields: tuple[Field, ...]) -> str:
    return _lines(f"{f.name}: {f.description}" for f in fields if f.description)


def _metadata(metadata: Metadata) -> dict[str, str]:
    return {
        "description": metadata.description,
        "owner": metadata.owner,
        "tags": _lines(f"{key}: {value}" for key, value in metadata.tags),
    }


def _lines(items: Any) -> str:
    return "\n".join(items)
