"""Whatever a caller sends, the fault is told as the caller's."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
VALUES = st.lists(JSON, max_size=3)
COLUMNS = st.dictionaries(st.sampled_from(["station", "party_size", "bikes", "measured_at", "x", ""]), VALUES, max_size=3)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["station", "party_size", "bikes", "measured_at"]), JSON, max_size=3), max_size=3
)
FEATURES = st.sampled_from(["trip_model", "trip", "station_state", ":", "a:b:c", "trip:", ""])
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def told(answer):
    assert answer.status_code < 500, answer.text
    assert answer.status_code < 300 or set(answer.json()["error"]) >= {"code", "message", "hint"}


@QUICK
@given(FEATURES | st.lists(FEATURES, max_size=3) | JSON, COLUMNS | ROWS | JSON, COLUMNS | ROWS | JSON)
def test_online_requests(empty_client, features, entities, request_):
    body = {"features": features, "entities": entities, "request": request_}
    told(empty_client.post("/v1/online-features", content=json.dumps(body), headers={"content-type": "application/json"}))


@QUICK
@given(st.binary(max_size=50))
@pytest.mark.parametrize("path", ["/v1/online-features", "/v1/datasets", "/v1/push/readings", "/v1/validation/readings"])
def test_any_bytes(empty_client, path, body):
    told(empty_client.post(path, content=body, headers={"content-type": "application/json"}))


@QUICK
@given(COLUMNS | ROWS)
def test_labels(empty_client, labels):
    given_as = "rows" if isinstance(labels, list) else "columns"
    body = {"name": "a b", "labels": {given_as: labels}, "features": "trip_model", "options": {"unknown": 1}}
    told(empty_client.post("/v1/datasets", content=json.dumps(body), headers={"content-type": "application/json"}))


@QUICK
@given(st.text(max_size=30))
def test_label_queries(empty_client, query):
    body = {"name": "a b", "labels": {"sql": query}, "features": "trip_model", "options": {"unknown": 1}}
    told(empty_client.post("/v1/datasets", json=body))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_without_end(empty_client, opening):
    body = '{"features": "trip_model", "entities": {"station": [' + opening * 3_000
    told(empty_client.post("/v1/online-features", content=body, headers={"content-type": "application/json"}))
    closed = "[" * 3_000 + "]" * 3_000
    body = '{"features": "trip_model", "entities": {"station": [' + closed + "]}}"
    told(empty_client.post("/v1/online-features", content=body, headers={"content-type": "application/json"}))


@QUICK
@given(COLUMNS | ROWS)
def test_pushes(empty_client, rows):
    given_as = "rows" if isinstance(rows, list) else "columns"
    body = json.dumps({given_as: rows})
    told(empty_client.post("/v1/push/readings", content=body, headers={"content-type": "application/json"}))


@QUICK
@given(
    st.binary(max_size=80),
    st.sampled_from(["text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "text/plain"]),
)
def test_uploads(empty_client, content, kind):
    told(empty_client.post("/v1/ingest/readings", content=content, headers={"content-type": kind}))
