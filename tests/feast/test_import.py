"""A Feast project becomes definitions of ours, written as Python and reported on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from featurestore import FeatureReference
from featurestore import types as t
from featurestore.errors import ConfigError, NotFoundError, RegistryError
from featurestore.feast.convert import FEAST_NAME, convert
from featurestore.feast.convert_sources import PUSH_SOURCE
from featurestore.feast.import_repository import ImportReport, import_repository
from featurestore.feast.registry_source import read_registry, read_settings
from featurestore.registry.definitions import Definitions, RequestSource
from featurestore.registry.feature_names import feature_names
from featurestore.registry.records import Field
from featurestore.registry.repository import load_definitions
from featurestore.registry.serialization import meaning_of
from featurestore.time import parse_duration
from featurestore.transforms.on_demand import run_on_demand
from tests.feast.registries import PROJECT, REGISTRY, write_repository, write_sql_registry


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImportReport, Definitions]:
    folder = tmp_path_factory.mktemp("feast")
    report = import_repository(write_repository(folder / "theirs"), folder / "ours")
    return report, load_definitions(folder / "ours" / "definitions")


@pytest.fixture(scope="module")
def definitions(imported: tuple[ImportReport, Definitions]) -> Definitions:
    return imported[1]


def test_an_entity_keeps_its_key_and_type(definitions: Definitions) -> None:
    driver = definitions.entity("driver")
    assert driver.join_keys == (Field("driver_id", t.Int64),)
    assert driver.metadata.description == "Who drives"


def test_a_key_without_a_type_takes_that_of_the_view(definitions: Definitions) -> None:
    assert definitions.entity("origin").join_keys == (Field("origin", t.String),)


def test_a_view_keeps_types_ttl_tags_owner_and_version(definitions: Definitions) -> None:
    view = definitions.view("driver_stats")
    assert view.features == (Field("conv_rate", t.Float32), Field("trips", t.Int64))
    assert view.ttl == parse_duration("2d")
    assert view.online
    assert view.metadata.owner == "rides@example.org"
    assert dict(view.metadata.tags) == {"team": "ops", "feast.version": "v3"}


def test_a_source_keeps_its_times_and_renames_its_columns(definitions: Definitions) -> None:
    source = definitions.source("stats_source")
    assert (source.event_time, source.arrival_time) == ("event_timestamp", "created")
    assert dict(source.metadata.tags) == {FEAST_NAME: "stats source", PUSH_SOURCE: "stats_push"}
    assert source.prepare is not None
    assert source.prepare(pl.LazyFrame({"cr": [1], "x": [2]})).collect().columns == ["conv_rate", "x"]
    assert definitions.view("driver_stats").source == "stats_source"


def test_a_stream_lands_in_its_batch_source(definitions: Definitions) -> None:
    assert definitions.view("trip_windows").source == "trips"
    tags = dict(definitions.source("trips").metadata.tags)
    assert (tags["feast.kafka_topic"], tags["feast.kafka_bootstrap_servers"]) == ("trips", "broker:9092")


def test_windows_keep_the_names_that_feast_gives_them(definitions: Definitions) -> None:
    view = definitions.view("trip_windows")
    assert feature_names(view) == ("fare_sum_1d", "fare_max_1h", "sum_fare_86400s", "biggest")


def test_windows_are_taken_over_what_the_function_of_a_stream_makes(definitions: Definitions) -> None:
    view = definitions.view("trip_windows")
    assert view.aggregations
    assert view.transform is not None
    assert view.transform(pl.LazyFrame({"fare": [1.5, 2.0]})).collect()["fare"].to_list() == [150.0, 200.0]


def test_an_on_demand_view_runs_its_own_function(definitions: Definitions) -> None:
    view = definitions.on_demand_views["plus_one"]
    assert view.sources == (FeatureReference("driver_stats"), RequestSource({"extra": t.Int64}))
    rows = pl.DataFrame({"conv_rate": [0.5, 0.25], "trips": [1, 2], "extra": [1, 2]})
    assert run_on_demand(view, rows)["plus"].to_list() == [1.5, 2.25]


def test_a_service_keeps_selections_aliases_and_join_key_maps(definitions: Definitions) -> None:
    assert definitions.service("model").features == (
        FeatureReference("driver_stats", ("conv_rate",)),
        FeatureReference("weather", None, "at_origin"),
        FeatureReference("weather", ("wind",), "at_dest", (("origin", "dest"),)),
        FeatureReference("plus_one"),
    )


@pytest.mark.parametrize(
    ("name", "verdict", "said"),
    [
        ("driver", "maps", ""),
        ("origin", "maps", ""),
        ("driver_stats", "changed", "ttl counts online too"),
        ("weather", "changed", "'raw' (Map) becomes String"),
        ("weather", "changed", "export them to Parquet"),
        ("trip windows", "changed", "the aggregation 'entropy' of 'fare'"),
        ("stats source", "changed", "arrival time"),
        ("stats_push", "changed", "push to 'stats_source'"),
        ("trips_kafka", "changed", "kafka.consume(store, 'trips', topic='trips', bootstrap='broker:9092')"),
        ("trips_kafka", "changed", "left out: messages in Avro"),
        ("global_stats", "none", "no entities"),
        ("pickled", "none", "no source text"),
        ("churn", "none", "labels"),
        ("reference", "none", "expectations"),
        ("readers", "none", "token"),
        ("model", "changed", "'global_stats'"),
    ],
)
def test_every_object_is_reported(imported: tuple[ImportReport, Definitions], name: str, verdict: str, said: str) -> None:
    found = [f for f in imported[0].findings if f.name == name]
    assert any(f.verdict == verdict and said in " ".join(f.notes) for f in found)


def test_nothing_is_left_unsaid(imported: tuple[ImportReport, Definitions]) -> None:
    named = {f.name for f in imported[0].findings}
    for kind, items in REGISTRY.items():
        for item in items:
            name = item.get("spec", item)["name"]
            assert name in named or kind == "projects" or name == "__dummy"


def test_the_report_says_how_to_go_on(imported: tuple[ImportReport, Definitions]) -> None:
    text = imported[0].files[1].read_text()
    assert "Without a counterpart" in text
    assert "featurestore ingest stats_source" in text
    assert "featurestore materialize" in text


def test_a_sql_registry_gives_the_same(tmp_path: Path, definitions: Definitions) -> None:
    url = write_sql_registry(tmp_path / "registry.sqlite")
    converted = convert(read_registry(url, root=tmp_path)).definitions
    assert [meaning_of(d) for d in converted.entities.values()] == [meaning_of(d) for d in definitions.entities.values()]
    assert converted.services == definitions.services
    assert {v.name: v.features for v in converted.views.values()} == {v.name: v.features for v in definitions.views.values()}


def test_the_settings_name_the_registry(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text("project: ${NAME}\nregistry: data/r.db # here\nonline_store:\n  path: x\n")
    settings = read_settings(tmp_path, {"NAME": "rides"})
    assert (settings.project, settings.registry) == ("rides", "data/r.db")


def test_a_second_import_does_not_overwrite(tmp_path: Path) -> None:
    theirs = write_repository(tmp_path / "theirs")
    import_repository(theirs, tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        import_repository(theirs, tmp_path)


def test_a_registry_file_is_enough(tmp_path: Path) -> None:
    theirs = write_repository(tmp_path / "theirs")
    assert import_repository(theirs / "data" / "registry.db", tmp_path).project == PROJECT


def test_what_is_no_registry_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a registry at all")
    with pytest.raises(RegistryError, match="no Registry of Feast's"):
        import_repository(tmp_path / "x.db", tmp_path)


def test_an_unknown_project_names_those_there_are(tmp_path: Path) -> None:
    theirs = write_repository(tmp_path / "theirs")
    with pytest.raises(NotFoundError, match="rides"):
        read_registry("data/registry.db", root=theirs, project="ride")


def test_feast_is_loaded_by_nobody_who_does_not_ask_for_it() -> None:
    code = (
        "import sys, featurestore.feast, featurestore.feast.import_repository, featurestore.feast.migrate_online\n"
        "import featurestore.api.app\n"
        "assert 'feast' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
