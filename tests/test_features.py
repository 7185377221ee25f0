"""What a request for features means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from featurestore import Entity, EventSource, FeatureService, FeatureView, RequestSource, on_demand_feature_view
from featurestore import types as t
from featurestore.errors import NotFoundError, RetrievalError
from featurestore.features import ResolvedFeatures, resolve_features
from featurestore.registry.definitions import Definitions, OnDemandFeatureView
from featurestore.registry.records import Field

plane = Entity("plane", join_keys={"tailnum": t.String})
origin = Entity("origin", join_keys={"origin": t.String})
source = EventSource("flights", event_time="at")
planes = FeatureView("planes", entities=[plane], source=source, features={"delay": t.Float64, "hops": t.Int64})
weather = FeatureView("weather", entities=[origin], source=source, features={"wind": t.Float64, "delay": t.Float64})


@on_demand_feature_view(
    sources=[
        weather["wind"],
        weather.with_join_keys({"origin": "dest"}, alias="dest")["wind"],
        RequestSource({"now": t.Int64}),
    ],
    features={"gap": t.Float64},
)
def gaps(rows: Any) -> Any:
    return rows


model = FeatureService("model", features=[weather["wind"], gaps])
DEFINITIONS = Definitions(
    views={"planes": planes, "weather": weather}, on_demand_views={"gaps": gaps}, services={"model": model}
)


def declared(view: FeatureView) -> Sequence[Field]:
    return [field for field in view.features or () if isinstance(field, Field)]


def resolve(features: Any, **options: Any) -> ResolvedFeatures:
    def on_demand(view: OnDemandFeatureView, inputs: Sequence[Field]) -> Sequence[Field]:
        return view.features

    return resolve_features(DEFINITIONS, features, view_fields=declared, on_demand_fields=on_demand, **options)


def test_columns_come_in_the_order_asked_for() -> None:
    resolved = resolve(["weather:wind", planes[["hops", "delay"]]])
    assert [output.name for output in resolved.outputs] == ["wind", "hops", "delay"]
    assert [field.name for field in resolved.lookups[1].features] == ["delay", "hops"]


def test_a_service_brings_its_sources_keys_and_request() -> None:
    resolved = resolve("model")
    assert [(lookup.name, lookup.key_columns) for lookup in resolved.lookups] == [("weather", ("origin",)), ("dest", ("dest",))]
    assert resolved.on_demand[0].inputs == (("wind", "weather:wind"), ("dest__wind", "dest:wind"), ("now", "now"))
    assert resolved.request_fields == (Field("now", t.Int64),)
    assert resolved.key_fields == (Field("origin", t.String), Field("dest", t.String))
    assert [output.name for output in resolved.outputs] == ["wind", "gap"]


def test_two_features_of_one_name_need_full_names() -> None:
    with pytest.raises(RetrievalError, match=r"two features would be named 'delay'(.|\n)*full_feature_names"):
        resolve([planes, weather])
    resolved = resolve([planes, weather], full_feature_names=True)
    assert [o.name for o in resolved.outputs] == ["planes__delay", "planes__hops", "weather__wind", "weather__delay"]


def test_one_view_twice_needs_an_alias() -> None:
    with pytest.raises(RetrievalError, match="alias"):
        resolve([weather["wind"], weather.with_join_keys({"origin": "dest"})["wind"]])


def test_a_global_mapping_gives_way_to_that_of_a_reference() -> None:
    second = weather.with_join_keys({"origin": "dest"}, alias="dest")
    resolved = resolve([weather, second], full_feature_names=True, join_key_map={"origin": "from"})
    assert [lookup.key_columns for lookup in resolved.lookups] == [("from",), ("dest",)]
    with pytest.raises(RetrievalError, match="no join key"):
        resolve("weather", join_key_map={"orgin": "from"})


@pytest.mark.parametrize("features", ["wether", "weather:wnd", ["planes", "nothing"]])
def test_unknown_names_are_named(features: Any) -> None:
    with pytest.raises(NotFoundError):
        resolve(features)


def test_the_same_feature_twice_comes_once() -> None:
    assert [output.name for output in resolve(["weather:wind", weather["wind"]]).outputs] == ["wind"]
