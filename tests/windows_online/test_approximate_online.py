"""Approximate windows online: what training sees, to the bit."""

from __future__ import annotations

from random import Random

import polars as pl
import pytest

from featurestore import Aggregation, EventSource, FeatureView, lifetime
from featurestore.features import resolve_features
from featurestore.materialize import materialize
from featurestore.offline import get_historical_features
from featurestore.offline.inputs import Inputs
from featurestore.offline.labels import INSTANT
from featurestore.offline.view_rows import open_rows
from featurestore.online import get_online_features
from featurestore.registry.aggregations import Window
from featurestore.transforms import engines
from featurestore.transforms.engines import EngineRecord
from tests.online.projects import USER, SmallProject, minutes, payments, row
from tests.windows.test_kernels_against_oracle import plain_namespace

USERS = ["a", "b", "c"]
FEATURES = ["notes_10h", "middle_10h", "often_10h", "exact_10h"]


def view(*more: Window) -> FeatureView:
    return FeatureView(
        "about",
        entities=[USER],
        source=payments(),
        aggregations=[
            Aggregation("note", "count_distinct", windows=["10h", *more], approx=True, name="notes"),
            Aggregation("amount", "quantile", q=0.5, windows=["10h"], approx=True, max_error=0.05, name="middle"),
            Aggregation("note", "top_k", n=3, windows=["10h"], approx=True, max_error=0.05, name="often"),
            Aggregation("note", "count_distinct", windows=["10h"], name="exact"),
        ],
    )


@pytest.fixture(params=["blocks of events", "tiles"])
def filled(small: SmallProject, request: pytest.FixtureRequest) -> SmallProject:
    source: EventSource = payments()
    small.apply(source, view(*([lifetime()] if request.param == "tiles" else [])))
    random = Random(5)
    small.clock.instant = minutes(1_500)
    for _ in range(2):  # two landings: neither of them in order
        small.land(
            [
                row(random.choice("aaaaab"), random.uniform(0, 1_499), random.randrange(10**6), f"n{random.randrange(1_500)}")
                for _ in range(1_500)
            ]
        )
    return small


def labels() -> pl.DataFrame:
    return pl.DataFrame({"user": USERS, "event_timestamp": [minutes(1_500)] * 3})


def test_serving_answers_what_training_sees_to_the_bit(filled: SmallProject) -> None:
    materialize(filled)
    online = get_online_features(filled, "about", {"user": USERS}).to_dict()
    trained = get_historical_features(filled, labels(), "about").to_polars()
    for name in trained.columns[2:]:
        assert online[name] == trained[name].to_list(), name
    assert set(FEATURES) <= set(trained.columns)
    assert online["notes_10h"][0] != online["exact_10h"][0]
    assert online["notes_10h"] == pytest.approx(online["exact_10h"], rel=0.07)
    assert online["notes_10h"][2] == 0
    assert online["middle_10h"][2] is None
    assert online["often_10h"][2] == []


def test_a_run_on_a_gpu_says_what_was_left_to_the_cpu(filled: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "arrays", lambda engine: plain_namespace())
    monkeypatch.setattr(engines, "collect", lambda frame, engine: (frame.collect(), engine))
    gpu = EngineRecord("gpu", "asked for")
    inputs = Inputs.of(filled)
    resolved = resolve_features(filled.definitions, "about", view_fields=inputs.fields, on_demand_fields=None)
    rows = open_rows(inputs, resolved.lookups[0], until=None, as_known=False, engine=gpu)
    answer = rows.answer(labels().select("user", pl.col("event_timestamp").to_physical().alias(INSTANT)), engine=gpu)
    assert answer.engine.fallbacks == ("approximate aggregations of about: notes, middle, often",)
    trained = get_historical_features(filled, labels(), "about", engine="cpu").to_polars()
    for name in FEATURES:
        assert answer.values[resolved.lookups[0].column(name)].equals(trained[name]), name
