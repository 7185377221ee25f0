"""Every command: what it answers, as JSON and as text."""

import json
import shutil

import pytest

from tests.cli.conftest import run


@pytest.fixture
def copy(made, tmp_path):
    """A repository that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("online"))
    return folder


def test_init_writes_a_repository_and_leaves_one_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    first = run("init", tmp_path, "--project", "trips", "--json")
    assert first.code == 0
    assert first.json["kept"] == ["README.md"]
    assert "definitions/bikes.py" in first.json["written"]
    assert (tmp_path / "README.md").read_text() == "mine"
    assert 'project = "trips"' in (tmp_path / "featurestore.toml").read_text()
    second = run("init", tmp_path)
    assert second.code == 1
    assert "is there already" in second.err


def test_plan_shows_a_change_and_check_says_so_by_its_exit_code(copy):
    assert run("plan", "--check", "--repo", copy).code == 0
    file = copy / "definitions" / "bikes.py"
    file.write_text(file.read_text().replace('"share_full": t.Float64', '"share_full": t.Float32'))
    changed = run("plan", "--check", "--repo", copy)
    assert changed.code == 6
    assert "Float64" in changed.out
    assert "Float32" in changed.out
    assert run("plan", "--repo", copy).code == 0


def test_apply_makes_a_revision_once_and_restore_goes_back(copy):
    assert run("apply", "--repo", copy, "--json").json["applied"] is False
    file = copy / "definitions" / "bikes.py"
    file.write_text(file.read_text().replace("The newest reading of a station.", "Newest."))
    applied = run("apply", "-m", "shorter", "--author", "ann", "--repo", copy, "--json").json
    assert (applied["revision"], applied["applied"]) == (2, True)
    listed = run("registry", "revisions", "--repo", copy, "--json").json["revisions"]
    assert (listed[0]["number"], listed[0]["author"], listed[0]["message"]) == (2, "ann", "shorter")
    assert run("registry", "restore", "1", "--repo", copy, "--json").json["number"] == 3
    assert run("registry", "restore", "9", "--repo", copy).code == 4


def test_ingest_adds_up_and_the_same_file_again_lands_nothing(copy):
    again = run("ingest", "readings", copy / "data" / "readings.csv", "--repo", copy, "--json").json
    assert (again["read"], again["landed"], again["quarantined"], again["duplicates"]) == (42, 0, 0, 42)


def test_quarantine_shows_the_row_with_its_reason_and_replay_tries_it_again(copy):
    shown = run("quarantine", "show", "readings", "--repo", copy, "--json").json
    assert shown["quarantined"] == 1
    assert shown["rows"][0]["line"] == 21
    assert "bikes is -3" in shown["rows"][0]["reason"]
    assert "MARKET" in run("quarantine", "show", "readings", "--repo", copy).out
    file = copy / "definitions" / "bikes.py"
    file.write_text(file.read_text().replace('"min_value": 0', '"min_value": -5'))
    assert run("apply", "--repo", copy).code == 0
    assert run("quarantine", "replay", "readings", "--repo", copy, "--json").json["landed"] == 1


def test_get_looks_up_the_newest(made):
    asked = ("get", "trip_model", "-e", "station=MARKET", "-e", "station=NOWHERE", "-r", "party_size=1", "-r", "party_size=2")
    answer = run(*asked, "--repo", made, "--json").json
    assert answer["statuses"]["bikes"] == ["PRESENT", "NOT_FOUND"]
    assert answer["metadata"]["entity_count"] == 2
    text = run(*asked, "--repo", made).out
    assert "station=NOWHERE" in text
    assert "NOT_FOUND" in text


def test_get_looks_up_the_past_and_writes_it(made, tmp_path):
    import polars as pl

    out = tmp_path / "training.parquet"
    written = run("get", "trip_model", "--labels", made / "data" / "labels.csv", "--out", out, "--repo", made, "--json").json
    assert written["columns"] == [
        "station",
        "event_timestamp",
        "party_size",
        "found_bikes",
        "bikes",
        "share_full",
        "enough_bikes",
    ]
    assert pl.read_parquet(out).height == 9
    shown = run("get", "trip_model", "--labels", made / "data" / "labels.csv", "--limit", "2", "--repo", made, "--json").json
    assert (len(shown["rows"]), shown["row_count"]) == (2, 9)
    assert shown["rows"][0]["bikes"] == 0


def test_a_training_set_is_made_shown_verified_rebuilt_and_compared(copy):
    labels = copy / "data" / "labels.csv"
    create = ("dataset", "create", "trips", "trip_model", "--labels", labels, "--repo", copy, "--json")
    first = run(*create)
    assert first.code == 0, first.err
    assert first.json["version"] == 1
    assert run("dataset", "show", "trips", "--repo", copy, "--json").json["manifest"]["name"] == "trips"
    shown = run("dataset", "show", "trips", "--repo", copy).out
    assert "trips version 1" in shown
    assert "enough_bikes" in shown
    assert "{" not in shown
    assert run("dataset", "verify", "trips", "--repo", copy).code == 0
    assert run("dataset", "rebuild", "trips", "--repo", copy, "--json").json["version"] == 2
    compared = run("dataset", "diff", "trips", "1", "2", "--repo", copy, "--json").json
    assert compared["same_content"] is True
    assert [d["version"] for d in run("dataset", "list", "--repo", copy, "--json").json["datasets"]] == [1, 2]
    assert run("dataset", "show", "absent", "--repo", copy).code == 4


def test_a_training_set_is_split_by_time(copy):
    split = ("--split", "train=..2026-03-02", "--split", "test=2026-03-02..")
    labels = copy / "data" / "labels.csv"
    made = run("dataset", "create", "split", "trip_model", "--labels", labels, *split, "--repo", copy, "--json")
    assert made.code == 0, made.err
    assert made.json["manifest"]["rows"] == {"train": 5, "test": 4}


def test_sql_answers_and_writes(made, tmp_path):
    query = "select station, count(*) as n from readings group by station order by station"
    answer = run("sql", query, "--repo", made, "--json").json
    assert answer["rows"] == [{"station": "HARBOUR", "n": 14}, {"station": "MARKET", "n": 13}, {"station": "STADIUM", "n": 14}]
    assert run("sql", "-", "--repo", made, stdin=query).out.splitlines()[1] == "HARBOUR  14"
    for name in ("x.parquet", "x.csv", "x.jsonl"):
        assert run("sql", query, "--out", tmp_path / name, "--repo", made).code == 0
    assert run("sql", query, "--out", tmp_path / "x.txt", "--repo", made).code == 2


def test_validate_fails_with_its_own_exit_code(made, tmp_path):
    assert run("validate", "readings", "--repo", made).code == 0
    suite = tmp_path / "suite.json"
    suite.write_text(
        json.dumps(
            {"expectations": [{"type": "expect_column_max_to_be_between", "kwargs": {"column": "bikes", "max_value": 2}}]}
        )
    )
    failed = run("validate", "readings", "--expectations", suite, "--repo", made, "--json")
    assert (failed.code, failed.json["success"]) == (3, False)


def test_validate_profiles_and_measures_drift(made):
    assert run("validate", "readings", "--profile", "--repo", made, "--json").json["rows"] == 41
    version = run("lake", "list", "--repo", made, "--json").json["tables"][0]["version"]
    drift = run("validate", "readings", "--drift", version, "--repo", made, "--json").json
    assert {column["level"] for column in drift["columns"]} == {"stable"}
    assert run("validate", "readings", "--profile", "--drift", "1", "--repo", made).code == 2


def test_status_tells_sources_views_and_freshness(made):
    found = run("status", "--repo", made, "--json").json
    (source,) = found["sources"]
    assert (source["name"], source["rows"], source["quarantined"]) == ("readings", 41, 1)
    assert source["newest_event"].startswith("2026-03-02T21:00:00")
    assert found["views"][0]["last_materialize"]["status"] == "succeeded"
    assert (found["pending"], found["online"]) == (None, {"ready": True})
    assert "station_state" in run("status", "--repo", made).out


def test_the_registry_is_browsed(made):
    names = [item["name"] for item in run("registry", "list", "--repo", made, "--json").json["definitions"]]
    assert names == ["station", "readings", "station_state", "trip", "trip_model"]
    assert run("registry", "show", "trip", "--repo", made, "--json").json["definitions"][0]["kind"] == "on-demand feature view"
    text = run("registry", "show", "trip", "--repo", made).out
    assert text.startswith("on-demand feature view trip  (definitions/bikes.py:")
    assert 'enough_bikes=pl.col("bikes") >= pl.col("party_size")' in text
    assert run("registry", "show", "tripp", "--repo", made).code == 4
    graph = run("registry", "lineage", "--repo", made).out.splitlines()
    assert ["feature:station_state.bikes", "column:readings.bikes"] in [line.split() for line in graph]
    below = run("registry", "lineage", "feature:station_state.bikes", "--downstream", "--repo", made, "--json").json["nodes"]
    assert {"feature:trip.enough_bikes", "service:trip_model"} <= set(below)
    assert run("registry", "lineage", "feature:station_state.bike", "--repo", made).code == 4
    upstream = run("registry", "lineage", "service:trip_model", "--repo", made, "--json").json["nodes"]
    assert "feature:trip.enough_bikes" in upstream
    kinds = {found["kind"] for found in run("registry", "runs", "--repo", made, "--json").json["runs"]}
    assert kinds >= {"ingest", "materialize"}


def test_the_lake_is_looked_after(copy):
    tables = run("lake", "list", "--repo", copy, "--json").json["tables"]
    assert ("events", "readings", 41) in [(t["kind"], t["name"], t["rows"]) for t in tables]
    assert run("lake", "history", "readings", "--repo", copy, "--json").json["history"]
    assert len(run("lake", "files", "readings", "--repo", copy, "--json").json["files"]) == 1
    assert run("lake", "compact", "readings", "--repo", copy, "--json").json["files_after"] == 1
    assert run("lake", "vacuum", "readings", "--repo", copy, "--json").json["removed"] == []
    assert run("lake", "files", "absent", "--repo", copy).code == 4


def test_push_takes_json_lines(copy):
    line = '{"station": "PIER", "measured_at": "2026-03-04T06:00:00Z", "bikes": 7, "docks": 3, "temperature": 5}\n'
    pushed = run("push", "readings", "--repo", copy, "--json", stdin=line)
    assert pushed.code == 0, pushed.err
    assert pushed.json["ingest"]["landed"] == 1
    assert run("get", "station_state:bikes", "-e", "station=PIER", "--repo", copy, "--json").json["features"] == {"bikes": [7]}
    broken = run("push", "readings", "--repo", copy, "--json", stdin=line + "{")
    assert (broken.code, broken.error["code"]) == (1, "ingestion_failed")
    assert "row 2" in broken.error["message"]


def test_erase_asks_first_and_removes_everywhere(copy):
    refused = run("erase", "station", "-k", "station=MARKET", "--repo", copy, stdin="n\n")
    assert refused.code == 130
    assert run("erase", "station", "-k", "station=MARKET", "--repo", copy, "--json").code == 2
    removed = run("erase", "station", "-k", "station=MARKET", "--yes", "--repo", copy, "--json")
    assert removed.code == 0, removed.err
    assert sum(removed.json["removed"].values()) >= 13
    left = run("sql", "select count(*) as n from readings where station = 'MARKET'", "--repo", copy, "--json").json
    assert left["rows"] == [{"n": 0}]


def test_doctor_looks_at_the_machine_and_the_stores(made, tmp_path):
    report = run("doctor", "--repo", made, "--json")
    checks = {(check["area"], check["name"]): check for check in report.json["checks"]}
    for name in ("definitions", "registry", "lake", "online store"):
        assert checks["project", name]["state"] == "ok", checks["project", name]
    assert "conditional put" in checks["project", "lake"]["found"]
    assert {name for area, name in checks if area == "machine"} == {"python", "system", "cpu", "memory", "disk"}
    for (area, _), check in checks.items():
        if area == "extras":
            assert check["state"] == "ok" or "pip install" in check["mend"]
    elsewhere = {
        (check["area"], check["name"]): check["state"] for check in run("doctor", "--repo", tmp_path, "--json").json["checks"]
    }
    assert elsewhere["project", "featurestore.toml"] == "missing"


def test_doctor_names_what_is_broken(copy):
    (copy / "definitions" / "bikes.py").write_text("import nothing_of_that_name\n")
    ran = run("doctor", "--repo", copy, "--json")
    broken = {check["name"]: check for check in ran.json["checks"] if check["state"] == "problem"}
    assert ran.code == 1
    assert "bikes.py:1" in broken["definitions"]["found"]


def test_check_leakage_passes_an_honest_view_and_tells_a_leak(copy):
    honest = run("check", "leakage", "station_state", "--sample", "10", "--repo", copy, "--json")
    assert (honest.code, honest.json["success"], honest.json["leaks"]) == (0, True, [])
    assert honest.json["compared"] > 0
    (copy / "definitions" / "leaky.py").write_text(
        "import polars as pl\n"
        "from featurestore import feature_view\n"
        "from bikes import readings, station\n\n\n"
        "@feature_view(entities=[station], source=readings, allow_future=True)\n"
        "def next_bikes(events: pl.LazyFrame) -> pl.LazyFrame:\n"
        '    later = pl.col("bikes").shift(-1).over("station", order_by="measured_at")\n'
        '    return events.select("station", "measured_at", later=later)\n'
    )
    assert run("apply", "--repo", copy).code == 0
    leaky = run("check", "leakage", "next_bikes", "--repo", copy, "--seed", "1", "--json")
    assert leaky.code == 3
    assert [leak["feature"] for leak in leaky.json["leaks"]] == ["later"]
    assert "1 feature leaks" in run("check", "leakage", "next_bikes", "--repo", copy).out


def test_conformance_judges_an_engine_without_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judged = run("conformance", "--engine", "cpu", "--json")
    assert judged.code == 0
    assert judged.json["engine"] == "cpu"
    assert judged.json["cases"] >= 150
    assert judged.json["failed"] == 0
    assert "0 failed" in run("conformance", "--engine", "oracle").out


def test_conformance_lists_what_failed(monkeypatch):
    from featurestore.testing import conformance

    first = conformance.load_groups()[0]
    result = conformance.run(lambda group, case: ["wrong"] * len(case.expected), [first])
    assert result["failed"] == result["cases"] > 0
    monkeypatch.setattr(conformance, "run", lambda engine: {**result, "engine": engine})
    failed = run("conformance")
    assert failed.code == 3
    assert result["failures"][0]["case"] in failed.out
    assert f"{result['failed']} failed" in failed.out
