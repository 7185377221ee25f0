"""``POST /search`` in Feast's JSON: the nearest rows of one view, by one of its vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from featurestore.api.feast_json import envelope, feature_results
from featurestore.codec.vectors import is_vector
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.online.nearest import get_nearest
from featurestore.online.response import PRESENT, Column
from featurestore.registry.records import Field
from featurestore.registry.types import Float64, Vector

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_DISTANCE: Final = Field("distance", Float64)


class SearchRequest(msgspec.Struct):
    """What Feast's clients send to ``/search``. Words, filters and services are taken to be refused by name."""

    features: list[str] = []
    query: list[float] | None = None
    top_k: int | None = None
    distance_metric: str | None = None
    feature_service: str | None = None
    query_string: str | None = None
    filters: dict[str, Any] | None = None
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False
    api_version: int | None = 1


def search_json(store: FeatureStore, names: FeastNames, asked: SearchRequest) -> bytes:
    """The answer: the features asked for, ``distance``, then the join keys; a row each, the nearest first.

    Raises:
        RequestError: features of several views, none of them a vector, something that is not offered.
    """
    query, top_k = _checked(asked, store.config.server.max_entities)
    view, features = _features(names, asked.features)
    vector = _vector(view, features, store)
    wanted = [f"{view}:{feature}" for feature in dict.fromkeys([*features, vector])]
    found = get_nearest(store, f"{view}:{vector}", query, features=wanted, top_k=top_k, metric=asked.distance_metric or "l2")
    columns = found.features.columns
    distance = columns[vector]._replace(field=_DISTANCE, values=found.distances, statuses=[PRESENT] * len(found))
    keys = [_key(field, found.entities[field.name]) for field in store.online_reader.key_fields([f"{view}:{vector}"])]
    return envelope(
        [*features, _DISTANCE.name, *found.entities],
        feature_results([*(columns[feature] for feature in features), distance, *keys]),
    )


def _checked(asked: SearchRequest, most: int) -> tuple[list[float], int]:
    not_offered = {"query_string": asked.query_string, "filters": asked.filters, "feature_service": asked.feature_service}
    for name, value in not_offered.items():
        if value is not None:
            raise RequestError(f"a search by {name!r} is not offered", hint='send "features" and a vector as "query"')
    if asked.query is None or asked.top_k is None:
        raise RequestError("the search lacks its query or top_k", hint='send a vector as "query", and "top_k", how many rows')
    if asked.top_k > most:
        raise RequestError(
            f"top_k is {asked.top_k:,}, at most {most:,} rows are answered",
            hint="ask for fewer; the owner of the service may raise [server] max_entities",
        )
    return asked.query, asked.top_k


def _features(names: FeastNames, texts: Iterable[str]) -> tuple[str, list[str]]:
    references = [names.reference(text).partition(":") for text in texts]
    views = list(dict.fromkeys(view for view, _, _ in references))
    if len(views) != 1:
        found = f"features of {len(views)} views" if views else "no features"
        raise RequestError(
            f"the search asks for {found}", hint='send "features", such as ["view:feature"], of one feature view'
        )
    return views[0], list(dict.fromkeys(feature for _, _, feature in references))


def _vector(view: str, features: Iterable[str], store: FeatureStore) -> str:
    """The feature to search by: the only vector asked for, or else of the view; lists of floats where there is no vector."""
    fields = dict(store.online_reader.ready([view]).plan.form.fields)
    asked = {name: fields[name] for name in features if name in fields}
    for some in (asked, fields):
        for found in (_vectors(some), [name for name, field in some.items() if is_vector(field.type)]):
            if len(found) == 1:
                return found[0]
    raise RequestError(f"{view!r} has no vector to search by, or several", hint="ask for one of its vectors among the features")


def _vectors(fields: Mapping[str, Field]) -> list[str]:
    return [name for name, field in fields.items() if isinstance(field.type, Vector)]


def _key(field: Field, values: list[Any]) -> Column:
    return Column(field, values, [PRESENT] * len(values), [None] * len(values))
