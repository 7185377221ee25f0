"""The shapes of request bodies: what is parsed, and what the OpenAPI document shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from featurestore.api.limits import ARROW_STREAM, JSON
from featurestore.api.uploads import MULTIPART, SUFFIXES
from featurestore.errors import RequestError

Columns = dict[str, list[Any]]
Rows = list[dict[str, Any]]


class OnlineRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A look-up of the newest features.

    ``features``: a service, or views and ``view:feature``. ``entities``: columns of join keys, or one object per entity.
    ``request``: what request sources need, row for row with ``entities``. ``at``: an instant of the near past in place of
    now, as RFC 3339 text; refused where the online store no longer holds what it needs.
    """

    features: str | list[str]
    entities: Columns | Rows
    request: Columns | Rows | None = None
    full_feature_names: bool = False
    at: str | None = None


class PushRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Rows of a source: as ``rows`` or as ``columns``, one of them."""

    rows: Rows | None = None
    columns: Columns | None = None

    def table(self) -> Rows | Columns:
        """The one that was given.

        Raises:
            RequestError: none or both were.
        """
        given: Rows | Columns = _one_of(rows=self.rows, columns=self.columns)
        return given


class Labels(msgspec.Struct, forbid_unknown_fields=True):
    """Label rows: as ``rows``, as ``columns``, or as a ``sql`` query over the lake's tables; one of them."""

    rows: Rows | None = None
    columns: Columns | None = None
    sql: str | None = None

    def given(self) -> Rows | Columns | str:
        """The one that was given.

        Raises:
            RequestError: none or several were.
        """
        given: Rows | Columns | str = _one_of(rows=self.rows, columns=self.columns, sql=self.sql)
        return given


class DatasetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A training set to write. ``options``: those of ``create_dataset``, such as ``split`` and ``as_known``."""

    name: str
    labels: Labels
    features: str | list[str]
    options: dict[str, Any] = {}


class ValidationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Expectations in place of the definition's own, in Great Expectations' words."""

    expectations: list[dict[str, Any]]


EXAMPLES: Final[Mapping[type, Mapping[str, Any]]] = {
    OnlineRequest: {
        "A service, by columns": {
            "features": "trip_model",
            "entities": {"station": ["HARBOUR", "MARKET"]},
            "request": {"party_size": [3, 1]},
        },
        "Features, by rows": {
            "features": ["station_state:bikes", "station_state:share_full"],
            "entities": [{"station": "STADIUM"}],
            "full_feature_names": True,
        },
    },
    PushRequest: {
        "Rows": {
            "rows": [{"station": "HARBOUR", "measured_at": "2026-03-03T09:00:00Z", "bikes": 11, "docks": 13, "temperature": 9}]
        },
        "Columns": {
            "columns": {
                "station": ["MARKET", "STADIUM"],
                "measured_at": ["2026-03-03T09:00:00Z", "2026-03-03T09:00:00Z"],
                "bikes": [4, 20],
                "docks": [14, 10],
                "temperature": [9, 8],
            }
        },
    },
    DatasetRequest: {
        "Labels in the request": {
            "name": "trips",
            "labels": {
                "rows": [
                    {"station": "HARBOUR", "event_timestamp": "2026-03-01T17:00:00Z", "party_size": 2, "found_bikes": True}
                ]
            },
            "features": "trip_model",
        },
        "Labels by a query": {
            "name": "evenings",
            "labels": {"sql": "select station, measured_at as event_timestamp, 2 as party_size from readings"},
            "features": "trip_model",
        },
    },
    ValidationRequest: {
        "One expectation": {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "station"}}]},
    },
}
"""Posted as they are by the tests to a service over the repository that ``featurestore init`` writes."""


def json_body(shape: type, *, arrow: bool = False) -> dict[str, Any]:
    """The OpenAPI description of a JSON body, with examples."""
    examples = {name: {"value": value} for name, value in EXAMPLES.get(shape, {}).items()}
    content: dict[str, Any] = {JSON: {"schema": _schema(shape), "examples": examples}}
    if arrow:
        content[ARROW_STREAM] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


def upload_body() -> dict[str, Any]:
    """The OpenAPI description of a body of files."""
    file = {"type": "string", "format": "binary"}
    parts = {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": file}}}}
    content: dict[str, Any] = {kind: {"schema": file} for kind in SUFFIXES}
    return {"requestBody": {"required": True, "content": {MULTIPART: parts, **content}}}


def _schema(shape: type) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([shape], ref_template="#/components/schemas/{name}")
    name = str(schema["$ref"]).rpartition("/")[2]
    inlined: dict[str, Any] = _inlined(components[name], components)
    return inlined


def _inlined(schema: Any, components: Mapping[str, Any]) -> Any:
    """A schema without references: each route then describes itself, whatever components the app collects."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            return _inlined(components[str(schema["$ref"]).rpartition("/")[2]], components)
        return {key: _inlined(value, components) for key, value in schema.items()}
    return [_inlined(item, components) for item in schema] if isinstance(schema, list) else schema


def _one_of(**given: Any) -> Any:
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        names = " or ".join(given)
        raise RequestError(f"{len(found)} of {names} were given, one is needed", hint=f"send one of {names}")
    return next(iter(found.values()))
