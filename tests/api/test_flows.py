"""Events in over HTTP, features out: what a service does all day."""

import io
import time

import pyarrow as pa
import pytest

from featurestore.api.cli.commands.init import write_template
from featurestore.store import FeatureStore
from tests.api.in_process import client_of

ONLINE = "/v1/online-features"
ARROW = "application/vnd.apache.arrow.stream"
CSV = b"station,measured_at,bikes,docks,temperature\nPIER,2026-03-04T06:00:00Z,7,3,5\nPIER,2026-03-04T09:00:00Z,-1,3,5\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service of its own, which these tests write to."""
    folder = tmp_path_factory.mktemp("flows")
    write_template(folder, "flows")
    with FeatureStore(folder) as store:
        store.apply()
        store.ingest("readings", str(folder / "data" / "readings.csv"))
        store.materialize()
    with client_of(folder) as opened:
        yield opened


def ask(service, *stations, **more):
    body = {"features": ["station_state:bikes"], "entities": {"station": list(stations)}, **more}
    answer = service.post(ONLINE, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_was_materialized_is_answered_in_the_order_asked_for(service):
    answer = ask(service, "MARKET", "NOWHERE", "MARKET")
    (bikes, missing, again) = answer["features"]["bikes"]
    assert (missing, again) == (None, bikes)
    assert answer["statuses"]["bikes"] == ["PRESENT", "NOT_FOUND", "PRESENT"]
    assert answer["event_times"]["bikes"] == ["2026-03-02T21:00:00Z", None, "2026-03-02T21:00:00Z"]
    assert answer["metadata"] == {"entity_count": 3, "types": {"bikes": "Int64"}}


def test_rows_and_columns_ask_the_same(service):
    rows = service.post(ONLINE, json={"features": ["station_state"], "entities": [{"station": "MARKET"}, {"station": "X"}]})
    columns = service.post(ONLINE, json={"features": ["station_state"], "entities": {"station": ["MARKET", "X"]}})
    assert rows.json() == columns.json()


def test_full_feature_names_name_the_view(service):
    assert list(ask(service, "MARKET", full_feature_names=True)["features"]) == ["station_state__bikes"]


def test_the_same_answer_comes_as_arrow(service):
    body = {"features": ["station_state:bikes"], "entities": {"station": ["MARKET", "X"]}}
    answer = service.post(ONLINE, json=body, headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    plain = ask(service, "MARKET", "X")
    assert table["bikes"].to_pylist() == plain["features"]["bikes"]
    assert table["bikes__status"].to_pylist() == plain["statuses"]["bikes"]


def test_pushed_rows_are_visible_when_the_answer_returns_and_a_repeated_push_lands_nothing(service):
    row = {"station": "HARBOUR", "measured_at": "2026-03-05T06:00:00Z", "bikes": 21, "docks": 3, "temperature": 5}
    first = service.post("/v1/push/readings", json={"rows": [row]}, headers={"Idempotency-Key": "one"})
    assert (first.status_code, first.json()["ingest"]["landed"], first.json()["views"]) == (200, 1, {"station_state": 1}), (
        first.text
    )
    assert ask(service, "HARBOUR")["features"]["bikes"] == [21]
    again = service.post("/v1/push/readings", json={"rows": [row]}, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["ingest"]["landed"]) == (200, 0), again.text


def test_a_late_push_does_not_move_the_newest_back(service):
    before = ask(service, "STADIUM")
    late = {"station": ["STADIUM"], "measured_at": ["2026-03-01T00:00:00Z"], "bikes": [1], "docks": [2], "temperature": [3]}
    assert service.post("/v1/push/readings", json={"columns": late}).json()["ingest"]["landed"] == 1
    assert ask(service, "STADIUM") == before


def test_arrow_rows_can_be_pushed(service):
    known = service.store.catalog.source_schema("readings")
    table = pa.table(
        {"station": ["DOCK"], "measured_at": ["2026-03-05T06:00:00Z"], "bikes": [5], "docks": [6], "temperature": [7]}
    )
    table = table.set_column(1, "measured_at", table["measured_at"].cast(pa.timestamp("us", "UTC"))).cast(
        pa.schema(list(known))
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = service.post("/v1/push/readings", content=bytes(sink.getvalue()), headers={"content-type": ARROW})
    assert answer.status_code == 200, answer.text
    assert ask(service, "DOCK")["features"]["bikes"] == [5]


def test_a_row_that_does_not_fit_is_refused_with_its_column_and_place(service):
    rows = [
        {"station": "A", "measured_at": "2026-03-05T06:00:00Z", "bikes": 1},
        {"station": "A", "measured_at": "x", "bikes": 2},
    ]
    answer = service.post("/v1/push/readings", json={"rows": rows})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wrong_type")
    assert "'measured_at', value 1: 'x'" in answer.json()["error"]["message"]


def test_an_upload_lands_once_and_adds_up(service):
    files = {"file": ("pier.csv", CSV, "text/csv")}
    report = service.post("/v1/ingest/readings", files=files).json()
    assert (report["read"], report["landed"], report["quarantined"], report["duplicates"]) == (2, 1, 1, 0)
    again = service.post("/v1/ingest/readings", files=files).json()
    assert (again["read"], again["landed"], again["duplicates"]) == (2, 0, 2)


def test_a_raw_body_lands_like_a_file_and_several_parts_like_several(service):
    raw = CSV.replace(b"PIER", b"QUAY")
    report = service.post("/v1/ingest/readings", content=raw, headers={"content-type": "text/csv"}).json()
    assert (report["landed"], report["quarantined"]) == (1, 1)
    files = [("file", (f"{name}.csv", io.BytesIO(CSV.replace(b"PIER", name)), "text/csv")) for name in (b"EAST", b"WEST")]
    files = [(field, (str(name), body, kind)) for field, (name, body, kind) in files]
    assert service.post("/v1/ingest/readings?format=csv", files=files).json()["landed"] == 2


def test_a_key_stands_for_one_content(service):
    headers = {"content-type": "text/csv", "Idempotency-Key": "march"}
    first = service.post("/v1/ingest/readings", content=CSV.replace(b"PIER", b"NORTH"), headers=headers)
    assert first.json()["landed"] == 1, first.text
    same = service.post("/v1/ingest/readings", content=CSV.replace(b"PIER", b"NORTH"), headers=headers)
    assert (same.status_code, same.json()["landed"]) == (200, 0)
    other = service.post("/v1/ingest/readings", content=CSV.replace(b"PIER", b"SOUTH"), headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("bikes", [2.5, True, "2", 1e30])
def test_a_pushed_value_is_never_changed_to_fit(service, bikes):
    row = {"station": "DOCKS", "measured_at": "2026-03-02T22:00:00Z", "bikes": bikes, "docks": 4, "temperature": 9}
    answer = service.post("/v1/push/readings", json={"rows": [row]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wrong_type"), answer.text


def test_a_key_of_a_push_stands_for_one_body(service):
    def push(bikes):
        row = {"station": "CANAL", "measured_at": "2026-03-02T22:00:00Z", "bikes": bikes, "docks": 4, "temperature": 9}
        return service.post("/v1/push/readings", json={"rows": [row]}, headers={"Idempotency-Key": "canal"})

    assert push(3).json()["ingest"]["landed"] == 1
    assert push(3).json()["ingest"]["duplicates"] == 1
    other = push(4)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_a_key_whose_upload_failed_may_be_used_for_the_mended_file(service):
    headers = {"content-type": "text/csv", "Idempotency-Key": "mended"}
    broken = service.post("/v1/ingest/readings", content=CSV.replace(b"measured_at", b"when"), headers=headers)
    assert broken.status_code == 422, broken.text
    mended = service.post("/v1/ingest/readings", content=CSV.replace(b"PIER", b"BAY"), headers=headers)
    assert (mended.status_code, mended.json()["landed"]) == (200, 1)


def test_nothing_of_an_upload_stays_on_disk(service):
    assert list((service.store.config.state_folder / "uploads").iterdir()) == []


def finished(service, location):
    for _ in range(600):
        job = service.get(location).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)  # a poll, as a caller of the service does it
    raise AssertionError(job)


def test_a_training_set_is_written_in_the_background_and_its_manifest_downloaded(service):
    labels = {"sql": "select station, measured_at as event_timestamp, 2 as party_size from readings"}
    answer = service.post("/v1/datasets", json={"name": "trips", "labels": labels, "features": "trip_model"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued"), answer.text
    job = finished(service, answer.headers["location"])
    assert (job["state"], job["version"]) == ("succeeded", 1), job
    manifest = service.get("/v1/datasets/trips/versions/1/manifest")
    assert manifest.headers["content-disposition"] == 'attachment; filename="trips-v1-manifest.json"'
    assert manifest.json()["content_hash"] == service.get("/v1/datasets/trips").json()["manifest"]["content_hash"]
    assert [d["name"] for d in service.get("/v1/datasets").json()["datasets"]] == ["trips"]


def test_a_job_that_fails_says_why(service):
    labels = {"sql": "select station, temperature as event_timestamp, 2 as party_size from readings"}
    answer = service.post("/v1/datasets", json={"name": "broken", "labels": labels, "features": "trip_model"})
    job = finished(service, answer.headers["location"])
    assert job["state"] == "failed"
    assert "event_timestamp" in job["error"]["message"]


def test_validation_answers_with_the_result_whether_or_not_it_is_a_success(service):
    suite = {"expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "bikes", "max_value": 3}}]}
    answer = service.post("/v1/validation/readings", json=suite)
    assert (answer.status_code, answer.json()["success"]) == (200, False)
    runs = service.get("/v1/validation/readings").json()["results"]
    assert runs
    assert all("result" in run for run in runs)


def test_an_expectation_about_a_column_that_does_not_exist_fails_and_names_it(service):
    suite = {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "wheels"}}]}
    answer = service.post("/v1/validation/readings", json=suite)
    assert (answer.status_code, answer.json()["success"]) == (200, False), answer.text
    assert "wheels" in answer.text


def test_the_registry_is_browsed(service):
    assert [view["name"] for view in service.get("/v1/registry/views").json()["views"]] == ["station_state", "trip"]
    one = service.get("/v1/registry/services/trip_model").json()
    assert (one["kind"], one["name"]) == ("feature service", "trip_model")
    upstream = service.get("/v1/registry/lineage", params={"node": "service:trip_model"}).json()
    assert "feature:station_state.bikes" in upstream["nodes"]
    assert {run["kind"] for run in service.get("/v1/registry/runs").json()["runs"]} >= {"ingest", "materialize"}


def test_what_was_done_is_counted(service):
    ask(service, "MARKET", "NOWHERE")
    text = service.get("/metrics").text
    for line in (
        'featurestore_http_requests_total{method="POST",route="/v1/online-features",status="200"}',
        'featurestore_http_request_seconds_count{method="POST",route="/v1/push/{source}"}',
        'featurestore_online_features_total{status="PRESENT"}',
        'featurestore_online_features_total{status="NOT_FOUND"}',
        'featurestore_rows_written_total{outcome="landed",source="readings"}',
        'featurestore_rows_written_total{outcome="quarantined",source="readings"}',
    ):
        assert line in text, line
