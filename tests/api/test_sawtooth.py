"""Keys that are served with sawtooth windows are marked over HTTP; Feast's clients, who know no such status, get the value."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore.api.limits import ARROW_STREAM
from featurestore.store import FeatureStore
from tests.api.in_process import Client, client_of

DEFINITIONS = """
from featurestore import Aggregation, Entity, EventSource, FeatureView, lifetime, types as t

user = Entity("user", join_keys={"user": t.String})
payments = EventSource("payments", event_time="at")
spent = FeatureView(
    "spent",
    entities=[user],
    source=payments,
    aggregations=[Aggregation("amount", "sum", windows=["6h", lifetime()], name="spent")],
    max_block_bytes=4_000,
    on_overflow="sawtooth",
)
"""
FEATURES = ["spent_6h", "spent"]
USERS = ["few", "many", "nobody"]
# It is 12:03, with one payment a minute until then: six hours hold 360 of them, or 363 from 06:00 on, the 5 minutes' edge.
VALUES = {"spent_6h": [1, 363, None], "spent": [1, 720, None]}
STATUSES = {"spent_6h": ["PRESENT", "SAWTOOTH", "NULL"], "spent": ["PRESENT", "PRESENT", "NULL"]}


def minute(at: int) -> str:
    return f"2026-03-01T{at // 60:02}:{at % 60:02}:00Z"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "featurestore.toml").write_text(f'project = "spent"\nnow = "{minute(12 * 60 + 3)}"\n')
    (folder / "definitions").mkdir()
    (folder / "definitions" / "shop.py").write_text(DEFINITIONS)
    many = [{"user": "many", "at": minute(12 * 60 + 2 - i), "amount": 1} for i in range(720)]
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", [*many, {"user": "few", "at": minute(12 * 60), "amount": 1}])
        store.materialize()
    with client_of(folder) as client:
        yield client


def ask(served: Client, path: str, **request: Any) -> Any:
    answer = served.post(path, **request)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("rows", [False, True])
def test_the_status_says_so_value_by_value(served: Client, rows: bool) -> None:
    entities = [{"user": user} for user in USERS] if rows else {"user": USERS}
    answer = ask(served, "/v1/online-features", json={"features": ["spent"], "entities": entities}).json()
    assert {name: answer["features"][name] for name in FEATURES} == VALUES
    assert {name: answer["statuses"][name] for name in FEATURES} == STATUSES


def test_so_it_does_as_arrow(served: Client) -> None:
    body = {"features": ["spent"], "entities": {"user": USERS}}
    raw = ask(served, "/v1/online-features", json=body, headers={"accept": ARROW_STREAM}).content
    table = pl.DataFrame(pl.from_arrow(pa.ipc.open_stream(BytesIO(raw)).read_all()))
    assert {name: table[name].to_list() for name in FEATURES} == VALUES
    assert {name: table[f"{name}__status"].to_list() for name in FEATURES} == STATUSES


def test_feasts_envelope_has_it_as_present(served: Client) -> None:
    names = [f"spent:{name}" for name in FEATURES]
    answer = ask(served, "/get-online-features", json={"features": names, "entities": {"user": USERS}}).json()
    assert answer["metadata"]["feature_names"] == ["user", *FEATURES]
    assert [column["values"] for column in answer["results"][1:]] == list(VALUES.values())
    assert [column["statuses"] for column in answer["results"][1:]] == [["PRESENT", "PRESENT", "NULL_VALUE"]] * 2
