from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from featurestore import Aggregation, Entity, EventSource, FeatureService, FeatureView
from featurestore import types as t
from featurestore.config import Config
from featurestore.errors import ConflictError, DefinitionError
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import Definitions, OnDemandFeatureView
from featurestore.registry.plan import Plan, make_plan
from featurestore.registry.records import SourceCode
from featurestore.time import SystemClock
from tests.registry.examples import definitions

CODE = 'def f(events):\n    wind = pl.col("wind")\n    return events.select("origin", "t", wind=wind)\n'


@pytest.fixture
def catalog(tmp_path: Any) -> Any:
    catalog = open_catalog(Config("flights", tmp_path), SystemClock())
    yield catalog
    catalog.close()


def written(
    entity: Mapping[str, Any] = MappingProxyType({}),
    source: Mapping[str, Any] = MappingProxyType({}),
    view: Mapping[str, Any] = MappingProxyType({}),
    without: tuple[str, ...] = (),
) -> Definitions:
    origin = Entity("origin", {"origin": t.String}, **entity)
    weather = EventSource("weather", **{"event_time": "t", **source})
    wind = FeatureView(
        "wind", **{"entities": [origin], "source": weather, "transform": SourceCode("f", CODE), "ttl": "3h", **view}
    )
    counts = FeatureView("counts", entities=[origin], source=weather, aggregations=[Aggregation(None, "count", windows=["1h"])])
    chill = OnDemandFeatureView(
        "chill", sources=[wind], transform=SourceCode("c", "def c(r):\n    return r\n"), features={"z": t.Int64}
    )
    services = [FeatureService("model", [chill]), FeatureService("other", [counts])]
    return Definitions(
        entities={"origin": origin},
        sources={"weather": weather},
        views={v.name: v for v in (wind, counts) if v.name not in without},
        on_demand_views={"chill": chill},
        services={s.name: s for s in services if s.name not in without},
    )


def plan_of(catalog: Catalog, **changes: Any) -> Plan:
    catalog.apply(written(), author="ada")
    return make_plan(catalog, written(**changes))


def test_against_an_empty_registry_everything_is_added(catalog: Catalog) -> None:
    plan = make_plan(catalog, definitions())
    assert plan.base == 0
    assert {c.action for c in plan.changes} == {"added"}
    assert plan.materialize == {"plane_delays": "new", "plane_rows": "new", "route_query": "new"}  # route_rows is not online
    assert "+ entity plane" in str(plan)
    assert str(plan).endswith("9 added, 0 changed, 0 removed, against an empty registry.")
    plan.check()


def test_what_is_applied_already_changes_nothing(catalog: Catalog) -> None:
    plan = plan_of(catalog)
    assert not plan
    assert str(plan) == "Nothing to change: the definitions are those of revision 1."


def test_a_changed_field_is_shown_old_and_new_with_what_follows(catalog: Catalog) -> None:
    plan = plan_of(catalog, view={"ttl": "6h"})
    (change,) = plan.changes
    assert (change.action, change.kind, change.name, change.effect) == ("changed", "feature view", "wind", "meaning")
    assert [(f.name, f.old, f.new) for f in change.fields] == [("ttl", "3h", "6h")]
    assert plan.materialize == {"wind": "its definition changed"}
    assert plan.services == {"model": ("wind",)}
    assert "    ttl: 3h -> 6h\n" in str(plan)
    assert "Services touched:\n  model: wind" in str(plan)


def test_a_changed_function_is_shown_as_a_unified_diff(catalog: Catalog) -> None:
    plan = plan_of(catalog, view={"transform": SourceCode("f", CODE.replace('pl.col("wind")', 'pl.col("wind") * 2'))})
    (field,) = plan.changes[0].fields
    assert field.diff.splitlines() == [
        "--- applied",
        "+++ written",
        "@@ -1,3 +1,3 @@",
        " def f(events):",
        '-    wind = pl.col("wind")',
        '+    wind = pl.col("wind") * 2',
        '     return events.select("origin", "t", wind=wind)',
    ]
    assert '      +    wind = pl.col("wind") * 2' in str(plan)


@pytest.mark.parametrize(
    ("changes", "kind", "effect"),
    [
        ({"view": {"owner": "ops"}}, "feature view", "metadata"),
        ({"entity": {"description": "An airport"}}, "entity", "metadata"),
        (
            {"view": {"transform": SourceCode("f", CODE.replace("    return", "    # all\n    return"))}},
            "feature view",
            "settings",
        ),
        ({"view": {"allow_future": True}}, "feature view", "settings"),
        ({"source": {"expectations": [{"type": "expect_x", "kwargs": {}}]}}, "source", "settings"),
    ],
)
def test_changes_that_keep_the_values_need_nothing_computed(catalog: Catalog, changes: Any, kind: str, effect: str) -> None:
    plan = plan_of(catalog, **changes)
    assert [(c.kind, c.effect) for c in plan.changes] == [(kind, effect)]
    assert (plan.materialize, plan.services, plan.notes) == ({}, {}, ())


def test_a_source_looked_up_by_another_column_changes_its_views(catalog: Catalog) -> None:
    plan = plan_of(catalog, source={"event_time": "seen_at"})
    assert plan.materialize == {
        "wind": "event_time of source weather changed",
        "counts": "event_time of source weather changed",
    }
    assert plan.services == {"model": ("wind",), "other": ("counts",)}
    assert plan.notes == ()


def test_a_source_that_lands_otherwise_says_what_stays(catalog: Catalog) -> None:
    plan = plan_of(catalog, source={"timezone": "Europe/Berlin"})
    assert plan.materialize == {}
    assert plan.notes == ("source weather: rows that landed stay as they are; batches to come land by the new definition",)


def test_a_view_that_comes_online_is_to_materialize(catalog: Catalog) -> None:
    catalog.apply(written(view={"online": False}), author="ada")
    plan = make_plan(catalog, written())
    assert (plan.changes[0].effect, plan.materialize) == ("settings", {"wind": "it is online now"})


def test_removals_name_the_services_that_go(catalog: Catalog) -> None:
    plan = plan_of(catalog, without=("counts", "other"))
    assert [(c.action, c.kind, c.name) for c in plan.changes] == [
        ("removed", "feature view", "counts"),
        ("removed", "feature service", "other"),
    ]
    assert plan.services == {"other": ("removed",)}
    assert "- feature view counts" in str(plan)
    plan.check()


def test_what_may_not_be_applied_is_shown_and_refused(catalog: Catalog) -> None:
    plan = plan_of(
        catalog,
        view={"transform": SourceCode("f", CODE.replace('pl.col("wind")', 'pl.col("wind").shift(-1)'))},
        without=("counts",),
    )
    with pytest.raises(
        DefinitionError, match=r"2 definitions cannot be right(.|\n)*'counts', which is not defined(.|\n)*later rows"
    ):
        plan.check()
    assert "May not be applied:" in str(plan)


def test_an_approximate_aggregation_says_how_far_off_it_may_be(catalog: Catalog) -> None:
    def shown(**parameters: Any) -> Plan:
        about = Aggregation("wind", "quantile", q=0.5, windows=["1d"], approx=True, **parameters)
        return plan_of(catalog, view={"transform": None, "aggregations": [about]})

    assert "error 0.05 (error in rank, as a share of the values)" in str(shown(max_error=0.05))
    refused = shown(max_error="much")
    assert "max_error='much'" in str(refused.problems[0])
    assert "max_error= is its error in rank, as a share of the values: 0.0005 to 0.05" in str(refused)


def test_as_data(catalog: Catalog) -> None:
    data = json.loads(json.dumps(plan_of(catalog, view={"ttl": None}).to_dict()))
    assert data["base"] == 1
    assert data["changes"][0]["fields"] == [{"field": "ttl", "old": "3h", "new": None, "diff": None}]
    assert data["materialize"] == {"wind": "its definition changed"}


def test_a_plan_that_another_overtook_is_not_applied(catalog: Catalog) -> None:
    plan = plan_of(catalog, view={"ttl": "6h"})
    catalog.apply(written(view={"ttl": "9h"}), author="bob")
    with pytest.raises(ConflictError):
        catalog.apply(plan.written, author="ada", base=plan.base)
