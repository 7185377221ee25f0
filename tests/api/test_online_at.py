"""``at`` over HTTP: the answer of the near past, and a clear refusal beyond what is kept."""

from pathlib import Path
from typing import Any

import pytest

from featurestore.store import FeatureStore
from tests.api.in_process import Client, client_of

DEFINITIONS = """
from featurestore import Aggregation, Entity, EventSource, FeatureView, types as t

user = Entity("user", join_keys={"user": t.String})
payments = EventSource("payments", event_time="at")
latest = FeatureView("latest", entities=[user], source=payments, features=["amount"])
spent = FeatureView(
    "spent", entities=[user], source=payments, aggregations=[Aggregation("amount", "sum", windows=["1h"])]
)
"""
ROWS = [{"user": "a", "at": f"2026-03-01T10:{minute}:00Z", "amount": amount} for minute, amount in (("05", 1), ("58", 10))]
ONLINE = "/v1/online-features"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("served")
    (folder / "featurestore.toml").write_text('project = "spent"\nnow = "2026-03-01T11:10:00Z"\n')
    (folder / "definitions").mkdir()
    (folder / "definitions" / "shop.py").write_text(DEFINITIONS)
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", ROWS)
        store.materialize()
    with client_of(folder) as client:
        yield client


def ask(served: Client, features: list[str], **more: Any) -> Any:
    return served.post(ONLINE, json={"features": features, "entities": {"user": ["a"]}, **more})


@pytest.mark.parametrize(
    ("at", "spent"),
    [
        (None, 10),
        ("2026-03-01T11:10:00Z", 10),
        ("2026-03-01T11:05:00Z", 11),
        ("2026-03-01T12:04:59+01:00", 11),
        ("2026-03-01T11:05", 11),
    ],
)
def test_an_instant_of_the_near_past(served: Client, at: str | None, spent: int) -> None:
    answer = ask(served, ["spent", "latest"], at=at)
    assert answer.status_code == 200, answer.text
    assert answer.json()["features"] == {"amount_sum_1h": [spent], "amount": [10]}
    assert answer.json()["features"] == served.store.get_online_features(["spent", "latest"], {"user": ["a"]}, at=at).to_dict()


@pytest.mark.parametrize(
    ("features", "at", "message"),
    [
        (["spent"], "2026-03-01T11:00:00Z", "'spent' keeps what it needs online for 7m30s back"),
        (["latest"], "2026-03-01T10:57:59Z", "'latest' has moved on since at=2026-03-01 10:57:59"),
        (["spent"], "2026-03-01T11:10:01Z", "in the future"),
        (["spent"], "yesterday", "'yesterday', not an instant"),
        (["spent"], 17, "at"),
    ],
)
def test_what_is_not_kept_is_refused(served: Client, features: list[str], at: Any, message: str) -> None:
    answer = ask(served, features, at=at)
    assert answer.status_code in (400, 422)
    assert message in answer.json()["error"]["message"]
    if isinstance(at, str):
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
        assert answer.json()["error"]["hint"]


def test_it_is_described(served: Client) -> None:
    body = served.get("/openapi.json").json()["paths"][ONLINE]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"type": "string"} in body["properties"]["at"]["anyOf"]
