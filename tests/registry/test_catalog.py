"""What every registry keeps to: the same tests on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from featurestore import Entity
from featurestore import types as t
from featurestore.config import Config, RegistryConfig
from featurestore.errors import ConfigError, ConflictError, DataTypeError, NotFoundError, RegistryError
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import Definitions
from featurestore.registry.serialization import version_of
from featurestore.time import SystemClock
from tests.registry.examples import definitions, plane_delays
from tests.registry.writers import apply_and_count, entities

Open = Callable[[], Catalog]


# -- revisions -----------------------------------------------------------------------------------------------------------


def test_an_empty_registry_defines_nothing(catalog: Catalog) -> None:
    assert catalog.definitions() == Definitions()
    assert catalog.newest() is None
    assert catalog.revisions() == []


def test_what_is_applied_comes_back_equal_in_another_process_of_the_same_registry(opened: Open) -> None:
    made = opened().apply(definitions(), author="ada", message="first")
    other = opened()
    assert other.definitions() == definitions()
    assert other.revisions() == [made]
    assert (made.number, made.author, made.message, made.restored_from) == (1, "ada", "first", None)
    assert made.created_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert str(made) == "revision 1, 2026-01-01 00:00:01 UTC, ada: first"


def test_applying_the_same_again_makes_no_revision(catalog: Catalog) -> None:
    made = catalog.apply(definitions(), author="ada")
    assert catalog.apply(definitions(), author="bob") == made
    assert len(catalog.revisions()) == 1


def test_words_alone_make_a_revision_but_keep_versions(catalog: Catalog) -> None:
    catalog.apply(entities("a"), author="ada")
    catalog.apply(entities("a", description="A letter"), author="ada")
    assert catalog.newest().number == 2
    assert catalog.version_of("a", revision=1) == catalog.version_of("a", revision=2)
    assert catalog.definitions().entities["a"].metadata.description == "A letter"


def test_earlier_revisions_can_be_listed_shown_and_restored(catalog: Catalog) -> None:
    for names in ("a", "ab", "c"):
        catalog.apply(entities(*names), author="ada", message=names)
    assert [(r.number, r.message) for r in catalog.revisions()] == [(3, "c"), (2, "ab"), (1, "a")]
    assert list(catalog.definitions(2).entities) == ["a", "b"]
    assert catalog.revision(2).message == "ab"

    restored = catalog.restore(2, author="bob")
    assert (restored.number, restored.restored_from, restored.message) == (4, 2, "Restore revision 2")
    assert catalog.definitions() == entities("a", "b")
    assert catalog.restore(2, author="bob") == restored  # it is the newest already


def test_everything_can_be_removed_and_come_back(catalog: Catalog) -> None:
    catalog.apply(definitions(), author="ada")
    catalog.apply(Definitions(), author="ada")
    assert catalog.definitions() == Definitions()
    catalog.restore(1, author="ada")
    assert catalog.definitions() == definitions()


def test_a_revision_that_does_not_exist_is_named(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="nothing was applied yet"):
        catalog.revision(1)
    catalog.apply(entities("a"), author="ada")
    with pytest.raises(NotFoundError, match=r"no revision named '7'\nHint: there are 1 to 1"):
        catalog.definitions(7)


def test_versions_by_name(catalog: Catalog) -> None:
    catalog.apply(definitions(), author="ada")
    assert catalog.version_of("plane_delays") == version_of(plane_delays)
    assert catalog.version_of("flights", kind="source") == version_of(definitions().sources["flights"])
    with pytest.raises(NotFoundError, match="did you mean 'plane_delays'"):
        catalog.version_of("plane_delay", kind="feature view")


def test_the_same_revision_is_the_same_object(catalog: Catalog) -> None:
    catalog.apply(entities("a"), author="ada")
    assert catalog.definitions() is catalog.definitions(1)
    catalog.apply(entities("b"), author="ada")
    assert list(catalog.definitions().entities) == ["b"]


def test_a_plan_made_against_an_older_revision_is_refused(opened: Open) -> None:
    one, two = opened(), opened()
    one.apply(entities("a"), author="ada", base=0)
    with pytest.raises(ConflictError, match=r"planned against revision 0.*ada.*is the newest(.|\n)*plan"):
        two.apply(entities("b"), author="bob", base=0)
    assert two.definitions() == entities("a")
    assert two.apply(entities("b"), author="bob", base=1).number == 2


def test_a_failing_apply_leaves_nothing_behind(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.apply(entities("a"), author="ada")
    twice = Definitions(entities={"x": Entity("b", join_keys={"k": t.Int64}), "y": Entity("b", join_keys={"k": t.Int64})})
    with pytest.raises(RegistryError, match="failed"):
        catalog.apply(twice, author="ada")
    assert [r.number for r in catalog.revisions()] == [1]
    assert catalog.apply(entities("c"), author="ada").number == 2


def test_projects_in_one_database_do_not_see_each_other(config: Config, open_one: Callable[[Config], Catalog]) -> None:
    mine, theirs = open_one(config), open_one(replace(config, project=f"{config.project}_2"))
    mine.apply(entities("a"), author="ada")
    mine.write_state("kind", "name", {"x": 1})
    with mine.start_run("ingest", "flights"):
        pass
    assert theirs.definitions() == Definitions()
    assert theirs.read_state("kind", "name") is None
    assert theirs.runs() == []
    assert theirs.apply(entities("b"), author="bob").number == 1
    assert mine.definitions() == entities("a")


# -- writers at the same time --------------------------------------------------------------------------------------------


def test_of_many_applies_from_one_base_exactly_one_wins(opened: Open) -> None:
    catalogs = [opened() for _ in range(4)]
    barrier = threading.Barrier(len(catalogs))

    def apply(number: int) -> str:
        barrier.wait()
        try:
            catalogs[number].apply(entities(f"e{number}"), author=f"a{number}", base=0)
        except ConflictError:
            return "conflict"
        return f"e{number}"

    with ThreadPoolExecutor(len(catalogs)) as pool:
        results = list(pool.map(apply, range(len(catalogs))))
    winners = [r for r in results if r != "conflict"]
    assert len(winners) == 1
    assert catalogs[0].definitions() == entities(*winners)
    assert [r.number for r in catalogs[0].revisions()] == [1]


def test_processes_write_at_once_and_lose_nothing(fresh_config: Config, open_one: Callable[[Config], Catalog]) -> None:
    processes, rounds = 2, 6
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(apply_and_count, fresh_config, writer, rounds) for writer in range(processes)]
        for future in futures:
            future.result()
    catalog = open_one(fresh_config)
    assert catalog.read_state("counter", "n") == {"n": processes * rounds}
    revisions = catalog.revisions()
    assert [r.number for r in reversed(revisions)] == list(range(1, processes * rounds + 1))
    held = {name for r in revisions for name in catalog.definitions(r.number).entities}
    assert held == {f"w{writer}_{number}" for writer in range(processes) for number in range(rounds)}


def test_threads_share_one_catalog(catalog: Catalog) -> None:
    def count(_: int) -> None:
        while True:
            seen = catalog.read_state("counter", "n")
            try:
                catalog.write_state("counter", "n", {"n": (seen or {"n": 0})["n"] + 1}, expected=seen)
            except ConflictError:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(40)))
    assert catalog.read_state("counter", "n") == {"n": 40}


def test_tables_are_made_once_by_whoever_comes_first(fresh_config: Config, open_one: Callable[[Config], Catalog]) -> None:
    barrier = threading.Barrier(4)

    def open_(_: int) -> Catalog:
        barrier.wait()
        return open_one(fresh_config)

    with ThreadPoolExecutor(4) as pool:
        catalogs = list(pool.map(open_, range(4)))
    assert [c.revisions() for c in catalogs] == [[], [], [], []]


# -- state documents -----------------------------------------------------------------------------------------------------


def test_state_is_written_only_over_what_was_read(catalog: Catalog) -> None:
    catalog.write_state("materialize", "v", {"version": 1}, expected=None)
    with pytest.raises(ConflictError, match="'v' is not what it was"):
        catalog.write_state("materialize", "v", {"version": 9}, expected=None)
    with pytest.raises(ConflictError):
        catalog.write_state("materialize", "v", {"version": 9}, expected={"version": 7})
    catalog.write_state("materialize", "v", {"version": 2, "files": ["ä", "\0", 1.5, None]}, expected={"version": 1})
    assert catalog.read_state("materialize", "v") == {"version": 2, "files": ["ä", "\0", 1.5, None]}
    catalog.write_state("materialize", "v", {"version": 3})  # whatever is there
    assert catalog.list_state("materialize") == {"v": {"version": 3}}


def test_a_document_that_must_exist_does_not(catalog: Catalog) -> None:
    with pytest.raises(ConflictError):
        catalog.write_state("k", "n", {"a": 1}, expected={"a": 0})
    assert catalog.read_state("k", "n") is None


def test_state_is_listed_in_order_of_names_and_forgotten(catalog: Catalog) -> None:
    for name in ("b", "A", "a", "ä"):
        catalog.write_state("k", name, {"name": name})
    assert list(catalog.list_state("k")) == ["A", "a", "b", "ä"]
    assert catalog.delete_state("k", "a") is True
    assert catalog.delete_state("k", "a") is False
    assert list(catalog.list_state("k")) == ["A", "b", "ä"]
    assert catalog.list_state("other") == {}


def test_state_that_is_no_json_is_refused(catalog: Catalog) -> None:
    with pytest.raises(RegistryError, match="JSON data"):
        catalog.write_state("k", "n", {"when": datetime(2026, 1, 1, tzinfo=UTC)})


# -- source schemas ------------------------------------------------------------------------------------------------------

BASE = pa.schema(
    [pa.field("k", pa.string(), nullable=False), ("t", pa.timestamp("us", "UTC")), ("x", pa.list_(pa.float32(), 3))]
)


def test_a_frozen_schema_comes_back(opened: Open) -> None:
    assert opened().source_schema("flights") is None
    assert opened().freeze_source_schema("flights", BASE) == BASE
    assert opened().source_schema("flights") == BASE
    assert opened().source_schemas() == {"flights": BASE}


def test_layouts_are_frozen_as_the_plain_types_of_their_values(catalog: Catalog) -> None:
    given = pa.schema([("a", pa.large_string()), ("b", pa.dictionary(pa.int8(), pa.string())), ("c", pa.timestamp("ms"))])
    plain = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.timestamp("us", "UTC"))])
    assert catalog.freeze_source_schema("s", given) == plain
    assert catalog.freeze_source_schema("s", given) == plain


def test_nullable_columns_may_be_added_and_left_out(catalog: Catalog) -> None:
    catalog.freeze_source_schema("s", BASE)
    wider = catalog.freeze_source_schema("s", pa.schema([BASE.field("k"), ("new", pa.int64())]))
    assert wider == BASE.append(pa.field("new", pa.int64()))
    assert catalog.freeze_source_schema("s", BASE) == wider


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (pa.field("x", pa.float32()), r"'x' is frozen as Vector\(Float32, 3\), and is Float32 now"),
        (pa.field("new", pa.int64(), nullable=False), "new column 'new' is not nullable"),
        (pa.field("d", pa.duration("s")), "column 'd': no featurestore type"),
    ],
)
def test_other_changes_of_a_frozen_schema_are_refused(catalog: Catalog, field: pa.Field, message: str) -> None:
    catalog.freeze_source_schema("s", BASE)
    with pytest.raises(DataTypeError, match=message):
        catalog.freeze_source_schema("s", pa.schema([BASE.field("k"), field]))
    assert catalog.source_schema("s") == BASE


def test_loads_that_widen_at_once_keep_each_others_columns(opened: Open) -> None:
    catalogs = [opened() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: catalogs[n].freeze_source_schema("s", pa.schema([(f"c{n}", pa.int64())])), range(4)))
    assert sorted(catalogs[0].source_schema("s").names) == ["c0", "c1", "c2", "c3"]


# -- runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_from_start_to_end(opened: Open) -> None:
    catalog = opened()
    with catalog.start_run("ingest", "flights", file="a.csv") as run:
        run.update(engine="cpu", reason="no GPU", counts={"read": 3})
        run.update(counts={"landed": 2}, validation={"success": False}, table_version=7)
        (under_way,) = opened().runs()
        assert (under_way.id, under_way.status, under_way.finished_at) == (run.id, "running", None)
        assert under_way.counts == {"read": 3, "landed": 2}
    (done,) = opened().runs(kind="ingest", target="flights")
    assert (done.status, done.error, done.engine, done.reason) == ("succeeded", None, "cpu", "no GPU")
    assert done.validation == {"success": False}
    assert done.details == {"file": "a.csv", "table_version": 7}
    assert done.seconds == 1.0
    assert done.to_dict()["started_at"] == "2026-01-01T00:00:01+00:00"


def test_a_run_that_fails_says_why_and_lets_the_error_pass(catalog: Catalog) -> None:
    def fail() -> None:
        with catalog.start_run("ingest", "flights") as run:
            run.update(counts={"read": 1})
            raise ValueError("bad \0 row")

    with pytest.raises(ValueError, match="bad"):
        fail()
    (record,) = catalog.runs()
    assert (record.status, record.error, record.counts) == ("failed", "ValueError: bad \\0 row", {"read": 1})


def test_runs_are_listed_newest_first_and_filtered(catalog: Catalog) -> None:
    for kind, target in [("ingest", "a"), ("ingest", "b"), ("materialize", "a")]:
        with catalog.start_run(kind, target):
            pass
    assert [(r.kind, r.target) for r in catalog.runs()] == [("materialize", "a"), ("ingest", "b"), ("ingest", "a")]
    assert [r.target for r in catalog.runs(kind="ingest")] == ["b", "a"]
    assert [r.kind for r in catalog.runs(target="a", limit=1)] == ["materialize"]


# -- the database --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_only_files_of_sqlite_and_postgresql_are_registries(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"\[registry\] url"):
        open_catalog(Config("p", tmp_path, registry=RegistryConfig(url)), SystemClock())


def test_a_database_that_does_not_answer_is_an_error_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://ada:secret@127.0.0.1:9/none?connect_timeout=2"
    with pytest.raises(RegistryError, match="failed") as caught:
        open_catalog(Config("p", tmp_path, registry=RegistryConfig(url)), SystemClock())
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("hello, this is a text and no database at all" * 30)
    with pytest.raises(RegistryError, match=r"registry.db failed: file is not a database"):
        open_catalog(Config("p", tmp_path, registry=RegistryConfig("sqlite:///registry.db")), SystemClock())


def test_tables_of_another_version_are_refused(fresh_config: Config, open_one: Callable[[Config], Catalog]) -> None:
    catalog = open_one(fresh_config)
    with catalog._database.write() as connection:
        connection.execute(sa.text("update featurestore_schema set version = 99"))
    with pytest.raises(RegistryError, match=r"version 99.*knows version 1"):
        open_one(fresh_config)
