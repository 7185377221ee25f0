"""Every request that cannot be answered: its status, its code, and a sentence that helps."""

import pytest

ONLINE = "/v1/online-features"
OK = {"features": "trip_model", "entities": {"station": ["HARBOUR"]}, "request": {"party_size": [1]}}


def j(**changes):
    return {"json": {**OK, **changes}}


def raw(content, content_type="application/json", **headers):
    return {"content": content, "headers": {"content-type": content_type, **headers}}


CASES = [
    # (method, path, request, status, code, a word of the message or the hint)
    ("POST", ONLINE, raw(b""), 400, "invalid_json", "empty"),
    ("POST", ONLINE, raw(b"{"), 400, "invalid_json", "not JSON"),
    ("POST", ONLINE, raw(b"\xff\xfe"), 400, "invalid_json", "UTF-8"),
    ("POST", ONLINE, raw(b"[]"), 422, "invalid_request", "object"),
    ("POST", ONLINE, raw(b"null"), 422, "invalid_request", "null"),
    ("POST", ONLINE, raw(b"{}"), 422, "invalid_request", "features"),
    ("POST", ONLINE, j(entities="HARBOUR"), 422, "invalid_request", "entities"),
    ("POST", ONLINE, j(entities={"station": "HARBOUR"}), 422, "invalid_request", "entities"),
    ("POST", ONLINE, j(features=[1]), 422, "invalid_request", "features"),
    ("POST", ONLINE, j(feature="typo"), 422, "invalid_request", "feature"),
    ("POST", ONLINE, j(full_feature_names="yes"), 422, "invalid_request", "bool"),
    ("POST", ONLINE, j(features="trip_modle"), 404, "not_found", "trip_model"),
    ("POST", ONLINE, j(features=["station_stat:bikes"]), 404, "not_found", "station_state"),
    ("POST", ONLINE, j(features=["station_state:bike"]), 404, "not_found", "bikes"),
    ("POST", ONLINE, j(features=[]), 422, "invalid_request", "no features"),
    ("POST", ONLINE, j(entities={"place": ["HARBOUR"]}), 422, "invalid_request", "station"),
    ("POST", ONLINE, j(entities={"station": [17]}), 422, "invalid_request", "17"),
    ("POST", ONLINE, j(entities=[{"station": "A"}, {}]), 422, "invalid_request", "station"),
    ("POST", ONLINE, j(entities={"station": ["A", "B"], "x": [1]}), 422, "unequal_columns", "lengths"),
    ("POST", ONLINE, j(entities={"station": ["A"] * 101}), 422, "too_many_entities", "100"),
    ("POST", ONLINE, j(request=None), 422, "invalid_request", "party_size"),
    ("POST", ONLINE, j(request={"party_size": [1, 2]}), 422, "invalid_request", "2"),
    ("POST", ONLINE, j(request={"party_size": ["many"]}), 422, "invalid_request", "party_size"),
    ("POST", ONLINE, j(request={"party_size": [1.5]}), 422, "invalid_request", "1.5"),
    ("POST", ONLINE, raw(b"x" * 20_001), 413, "request_too_large", "20,000"),
    (
        "POST",
        ONLINE,
        raw(b"features=trip", "application/x-www-form-urlencoded"),
        415,
        "unsupported_media_type",
        "application/json",
    ),
    ("POST", ONLINE, raw(b"{}", "application/json", **{"content-encoding": "gzip"}), 415, "unsupported_encoding", "compressed"),
    ("POST", ONLINE, {"content": b"{}"}, 415, "unsupported_media_type", "no content type"),
    ("GET", ONLINE, {}, 405, "method_not_allowed", "/docs"),
    ("GET", "/v2/online-features", {}, 404, "no_such_route", "/docs"),
    ("POST", "/v1/push/reading", {"json": {"rows": []}}, 404, "not_found", "readings"),
    ("POST", "/v1/push/readings", {"json": {"rows": [], "columns": {}}}, 422, "invalid_request", "one of"),
    ("POST", "/v1/push/readings", {"json": {}}, 422, "invalid_request", "rows or columns"),
    ("POST", "/v1/push/readings", {"json": {"rows": {"station": 1}}}, 422, "invalid_request", "rows"),
    ("POST", "/v1/push/readings", {"json": {"columns": {"station": ["A"], "bikes": []}}}, 422, "invalid_request", "lengths"),
    ("POST", "/v1/push/readings", raw(b"nothing", "application/vnd.apache.arrow.stream"), 400, "invalid_arrow", "Arrow"),
    ("POST", "/v1/push/readings", raw(b"a,b", "text/csv"), 415, "unsupported_media_type", "application/json"),
    ("POST", "/v1/ingest/reading", raw(b"a,b\n1,2\n", "text/csv"), 404, "not_found", "readings"),
    ("POST", "/v1/ingest/readings", raw(b"", "text/csv"), 400, "empty_body", "empty"),
    ("POST", "/v1/ingest/readings", raw(b"{}", "application/json"), 415, "unsupported_media_type", "multipart/form-data"),
    ("POST", "/v1/ingest/readings", raw(b"x" * 50_001, "text/csv"), 413, "request_too_large", "50,000"),
    ("POST", "/v1/ingest/readings", raw(b"x", "multipart/form-data"), 400, "invalid_multipart", "boundary"),
    (
        "POST",
        "/v1/ingest/readings",
        raw(b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        400,
        "invalid_multipart",
        "multipart",
    ),
    ("POST", "/v1/ingest/readings", {"data": {"a": "b"}, "files": {"c": (None, b"d")}}, 400, "no_file", "file"),
    ("POST", "/v1/datasets", raw(b"{"), 400, "invalid_json", "not JSON"),
    ("POST", "/v1/datasets", {"json": {"name": "x"}}, 422, "invalid_request", "labels"),
    ("POST", "/v1/datasets", {"json": {"name": "x", "features": "trip_model", "labels": {}}}, 422, "invalid_request", "one of"),
    (
        "POST",
        "/v1/datasets",
        {"json": {"name": "x", "features": "trip_model", "labels": {"sql": "select * from read_csv('/etc/passwd')"}}},
        422,
        "query_refused",
        "READ_CSV",
    ),
    (
        "POST",
        "/v1/datasets",
        {"json": {"name": "x", "features": "trip_model", "labels": {"columns": {"event_timestamp": ["noon"]}}}},
        422,
        "wrong_type",
        "event_timestamp",
    ),
    (
        "POST",
        "/v1/datasets",
        {"json": {"name": "x", "features": "trip_model", "labels": {"rows": []}, "options": {"splitt": {}}}},
        422,
        "invalid_request",
        "split",
    ),
    ("GET", "/v1/datasets/absent", {}, 404, "not_found", "absent"),
    ("GET", "/v1/dataset-jobs/absent", {}, 404, "not_found", "dataset-jobs"),
    ("GET", "/v1/registry/entities/stations", {}, 404, "not_found", "station"),
    ("GET", "/v1/registry/planets", {}, 422, "invalid_parameter", "entities"),
    ("GET", "/v1/registry/revisions/99", {}, 404, "not_found", "99"),
    ("GET", "/v1/registry/revisions/first", {}, 422, "invalid_parameter", "integer"),
    ("GET", "/v1/registry/runs?limit=0", {}, 422, "invalid_parameter", "limit"),
    ("GET", "/v1/validation/absent", {}, 404, "not_found", "absent"),
    ("POST", "/v1/validation/absent", {}, 404, "not_found", "absent"),
    (
        "POST",
        "/v1/ingest/readings",
        raw(b"place,measured_at\nA,2026-03-01T00:00:00Z\n", "text/csv"),
        422,
        "invalid_definition",
        "bikes",
    ),
    ("POST", "/v1/validation/readings", raw(b"expectations", "text/plain"), 415, "unsupported_media_type", "application/json"),
]


@pytest.mark.parametrize(("method", "path", "request_", "status", "code", "word"), CASES)
def test_a_bad_request_is_refused_with_a_code_and_a_sentence(empty_client, method, path, request_, status, code, word):
    answer = empty_client.request(method, path, **request_)
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code), body
    assert answer.headers["content-type"] == "application/json"
    assert word in f"{body['error']['message']} {body['error']['hint']}", body
    assert set(body) == {"error"}
    assert "Traceback" not in answer.text


def test_an_expectation_type_that_nobody_knows_is_refused_before_anything_is_read(client):
    wanted = [{"type": "expect_column_values_to_be_beautiful", "kwargs": {"column": "bikes"}}]
    answer = client.post("/v1/validation/readings", json={"expectations": wanted})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_definition"), error
    assert "expect_column_values_to_be_beautiful" in error["message"]
    assert "expect_column_values_to_be_" in error["hint"]


def test_no_bad_request_is_an_error_of_the_service():
    assert {status // 100 for _, _, _, status, _, _ in CASES} == {4}
