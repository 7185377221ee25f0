"""Exit codes and messages: one sentence and a hint, no traceback; one JSON document for machines."""

import pytest

from tests.cli.conftest import run

CASES = [
    # (arguments, exit code, code, a word of the message or hint)
    (["plann"], 2, "usage", "plan"),
    (["--no-such-option"], 2, "usage", "--no-such-option"),
    (["ingest"], 2, "usage", "SOURCE"),
    (["get", "trip_model"], 2, "usage", "--labels"),
    (["get", "trip_model", "-e", "HARBOUR"], 2, "usage", "name=value"),
    (["get", "trip_model", "-e", "station=A", "--as-known"], 2, "usage", "--labels"),
    (["get", "trip_model", "--labels", "x.csv", "--at", "2026-01-01"], 2, "usage", "--entity"),
    (["get", "trip_model", "-e", "station=A", "-r", "party_size=1", "--at", "soon"], 1, "invalid_request", "soon"),
    (["get", "trip_model", "-e", "station=A", "-r", "party_size=1", "--at", "2999-01-01"], 1, "invalid_request", "future"),
    (["get", "trip_modle", "-e", "station=A"], 4, "not_found", "trip_model"),
    (["get", "trip_model", "-e", "place=A"], 1, "invalid_request", "place"),
    (["get", "trip_model", "-e", "station=A", "-r", "party_size=two"], 1, "wrong_type", "two"),
    (["get", "trip_model", "-e", "station=A"], 1, "invalid_request", "party_size"),
    (["ingest", "reading", "x.csv"], 4, "not_found", "readings"),
    (["ingest", "readings", "/no/such/file.csv"], 1, "ingestion_failed", "/no/such/file.csv"),
    (["materialize", "station_stat"], 4, "not_found", "station_state"),
    (["sql", "selec 1"], 1, "invalid_retrieval", "selec"),
    (["validate", "absent"], 4, "not_found", "absent"),
    (["quarantine", "show", "absent"], 4, "not_found", "absent"),
    (["erase", "stations", "-k", "station=A", "--yes"], 4, "not_found", "station"),
    (["serve", "--port", "0"], 2, "usage", "port"),
    (["completion", "tcsh"], 2, "usage", "bash"),
]


@pytest.mark.parametrize(("arguments", "code", "name", "word"), CASES)
def test_an_error_is_one_document_for_machines_and_a_sentence_for_people(made, arguments, code, name, word):
    machine = run("--repo", made, "--json", *arguments)
    assert (machine.code, machine.error["code"]) == (code, name), machine.err
    assert word in f"{machine.error['message']} {machine.error['hint']}"
    assert machine.out == ""
    person = run("--repo", made, *arguments)
    assert person.code == code
    assert person.err.startswith("Error: ")
    assert "Traceback" not in person.err


def test_without_a_project_the_hint_says_how_to_make_one(tmp_path):
    ran = run("status", "--repo", tmp_path)
    assert ran.code == 1
    assert "featurestore init" in ran.err


def test_a_broken_definition_is_named_with_file_and_line(tmp_path):
    run("init", tmp_path)
    file = tmp_path / "definitions" / "bikes.py"
    file.write_text(file.read_text() + "\nbroken = Entity('x', join_keys={})\n")
    ran = run("plan", "--repo", tmp_path, "--json")
    assert (ran.code, ran.error["code"]) == (1, "invalid_definition")
    assert f"bikes.py:{len(file.read_text().splitlines())}" in ran.error["message"]


def test_what_a_definition_prints_does_not_spoil_the_json(tmp_path):
    run("init", tmp_path)
    file = tmp_path / "definitions" / "bikes.py"
    file.write_text('print("hello from a definition")\n' + file.read_text())
    ran = run("plan", "--repo", tmp_path, "--json")
    assert ran.json["changes"]
    assert "hello from a definition" in ran.err
