"""The main job on the real flights: what it finds is what is known of them, and a second run doubles nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.processes import call

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "flights"


def test_the_demo_finds_what_is_known_of_the_flights_and_doubles_nothing(tmp_path: Path) -> None:
    repo = tmp_path / "flights"
    shutil.copytree(EXAMPLE, repo, ignore=shutil.ignore_patterns(".featurestore", "__pycache__"))
    first = call(repo, "demo")

    assert first["ingested"] == {
        "departures": {"read": 336_776, "landed": 328_521, "quarantined": 8_255, "duplicates": 0},
        "landings": {"read": 336_776, "landed": 327_346, "quarantined": 9_430, "duplicates": 0},
        "weather": {"read": 26_115, "landed": 26_114, "quarantined": 1, "duplicates": 0},
        "planes": {"read": 3_322, "landed": 3_252, "quarantined": 70, "duplicates": 0},
    }
    # 0.582 with 30 minutes of taxi for flights that land before the look-up; a flight that sees itself is known for certain.
    assert first["auc"]["last_arr_delay"] == {"point in time": pytest.approx(0.585, abs=0.01), "leaky": 1.0}
    origin = first["auc"]["dep_delay_mean_1h"]
    assert origin["leaky"] > origin["point in time"] + 0.05
    assert first["dataset"]["rows"]["train"] + first["dataset"]["rows"]["test"] < first["labels"] == 327_346
    assert first["http"] == first["in_process"]
    # The newest observation of the weather is of 30 December: older than its ttl of three hours.
    assert first["statuses"]["wind"] == "EXPIRED"
    assert first["statuses"]["last_arr_delay"] == "PRESENT"
    # Windows: the plane's last day has no flight any more, its last week has.
    assert (first["in_process"]["arr_delay_mean_1d"], first["statuses"]["arr_delay_mean_1d"]) == (None, "NULL")
    assert first["statuses"]["arr_delay_mean_7d"] == "PRESENT"

    second = call(repo, "demo")
    assert second["dataset"] == first["dataset"]
    assert second["revision"] == first["revision"]
    assert {name: counts["landed"] for name, counts in second["ingested"].items()} == dict.fromkeys(first["ingested"], 0)
    assert second["in_process"] == first["in_process"]
    assert second["auc"] == first["auc"]
