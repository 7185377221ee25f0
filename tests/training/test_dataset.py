"""Training sets on a real project: versions, verification, rebuilding, differences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from featurestore import FeatureStore
from featurestore.errors import NotFoundError, TrainingSetError
from featurestore.time import FrozenClock
from tests.training.projects import EPOCH, write_project


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    write_project(tmp_path)
    with FeatureStore(tmp_path, clock=FrozenClock(EPOCH + timedelta(days=100))) as opened:
        opened.apply(author="ann")
        opened.ingest("trips", trips(60))
        yield opened


def trips(count: int, first: int = 0) -> pl.DataFrame:
    times = [EPOCH + timedelta(hours=6 * i) for i in range(first, first + count)]
    return pl.DataFrame(
        {
            "car": [f"c{i % 5}" for i in range(first, first + count)],
            "ended_at": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "km": [float(i % 17) for i in range(first, first + count)],
            "stops": [None if i % 7 == 0 else i for i in range(first, first + count)],
        }
    )


def labels(count: int = 40) -> pl.DataFrame:
    times = [EPOCH + timedelta(hours=9 * i) for i in range(count)]
    return pl.DataFrame(
        {
            "car": [f"c{i % 6}" for i in range(count)],
            "event_timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "y": [i % 2 == 0 for i in range(count)],
        }
    )


SPLIT = {"train": "..2020-01-10", "test": "2020-01-10.."}


def test_the_parts_hold_every_label_row_once_in_order(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model", split=SPLIT)
    rows = pl.concat([made.to_polars("train"), made.to_polars("test")])
    assert rows.select(labels().columns).equals(labels())
    assert rows.columns == ["car", "event_timestamp", "y", "last_km", "last_stops"]
    assert made.manifest.rows == {"train": 24, "test": 16}


def test_what_it_holds_is_what_the_retrieval_gives(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model")
    assert made.to_polars().equals(store.get_historical_features(labels(), "model").to_polars())
    assert made.to_arrow().to_pylist() == made.scan().collect().to_dicts()
    assert made.to_pandas().shape == (40, 5)


def test_shards_are_cut_at_so_many_rows(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model", rows_per_shard=15)
    assert [shard.rows for shard in made.manifest.shards] == [15, 15, 10]
    assert made.to_polars().height == 40


def test_the_same_request_returns_the_version_that_is_there(store: FeatureStore) -> None:
    one, two = (store.create_dataset("rides", labels(), "model", split=SPLIT) for _ in range(2))
    assert (one.version, two.version) == (1, 1)
    assert store.create_dataset("rides", labels(), "model").version == 2


def test_new_events_make_a_new_version_and_the_old_one_still_verifies(store: FeatureStore) -> None:
    one = store.create_dataset("rides", labels(), "model", split=SPLIT)
    store.ingest("trips", trips(3).with_columns(ended_at=pl.col("ended_at") + timedelta(hours=1), km=pl.lit(99.0)))
    two = store.create_dataset("rides", labels(), "model", split=SPLIT)
    assert (one.version, two.version) == (1, 2)
    assert one.verify().ok
    assert two.verify().ok
    difference = one.diff(two)
    assert not difference.same_content
    assert (difference.rows_added, difference.rows_removed, difference.rows_moved) == (0, 0, 0)
    assert set(difference.changed) == {"last_km"}
    assert difference.examples["last_km"][0]["new"] == 99.0
    assert list(difference.lake_changed) == ["trips"]
    assert not difference.definitions_changed


def test_rebuilding_gives_the_same_content_as_a_new_version(store: FeatureStore) -> None:
    one = store.create_dataset("rides", labels(), "model", split=SPLIT)
    store.ingest("trips", trips(30, first=60))
    again = one.rebuild()
    assert again.version == 2
    assert again.manifest.rebuilt_from == 1
    assert again.manifest.content_hash == one.manifest.content_hash
    assert one.diff(again).same_content


def test_a_changed_shard_is_found(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model")
    path = Path(made.uris()[0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    found = made.verify()
    assert not found.ok
    assert "was changed after it was written" in str(found)


def test_a_missing_shard_is_found(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model")
    Path(made.uris()[0]).unlink()
    assert "is missing" in str(made.verify())


def test_a_changed_definition_is_in_the_difference(store: FeatureStore) -> None:
    one = store.create_dataset("rides", labels(), "model")
    file = store.config.root / "definitions" / "cars.py"
    file.write_text(file.read_text().replace('pl.col("km")', 'pl.col("km") * 2'))
    store.apply(author="ann")
    two = store.create_dataset("rides", labels(), "model")
    difference = one.diff(two)
    assert set(difference.changed) == {"last_km"}
    assert list(difference.definitions_changed) == ["last_trip"]


def test_rows_that_came_and_went_are_counted(store: FeatureStore) -> None:
    one = store.create_dataset("rides", labels(40), "model")
    two = store.create_dataset("rides", labels(45).slice(2), "model")
    difference = one.diff(two)
    assert (difference.rows_added, difference.rows_removed) == (5, 2)


def test_two_writers_get_two_versions(store: FeatureStore) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: store.create_dataset("rides", labels(n), "model"), [10, 11, 12, 13]))
    assert sorted(d.version for d in made) == [1, 2, 3, 4]
    assert {d.manifest.rows["all"]: store.dataset("rides", d.version).to_polars().height for d in made} == {
        n: n for n in range(10, 14)
    }


def test_batches_of_a_part_hold_its_rows(store: FeatureStore) -> None:
    made = store.create_dataset("rides", labels(), "model", split=SPLIT)
    reader = made.batches("train", batch_size=7, columns=["last_km", "y"], shuffle_seed=1)
    rows = [row for batch in reader.read() for row in batch.to_pylist()]
    expected = made.to_polars("train").select("last_km", "y").to_dicts()
    assert sorted(map(str, rows)) == sorted(map(str, expected))


def test_finding_and_listing(store: FeatureStore) -> None:
    store.create_dataset("rides", labels(5), "model", tags={"use": "test"})
    store.create_dataset("rides", labels(6), "model")
    store.create_dataset("other-rides", labels(7), "model")
    assert [(d.name, d.version) for d in store.datasets()] == [("other-rides", 1), ("rides", 1), ("rides", 2)]
    assert store.dataset("rides").version == 2
    assert store.dataset("rides", 1).manifest.tags == {"use": "test"}
    with pytest.raises(NotFoundError, match="did you mean 'rides'"):
        store.dataset("ridez")
    with pytest.raises(NotFoundError, match="versions are 1 to 2"):
        store.dataset("rides", 3)


def test_unusable_requests_say_how_to_mend_them(store: FeatureStore) -> None:
    with pytest.raises(TrainingSetError, match="not usable"):
        store.create_dataset("my rides!", labels(), "model")
    with pytest.raises(TrainingSetError, match="no label row is in any part"):
        store.create_dataset("rides", labels(), "model", split={"late": "2031.."})
    made = store.create_dataset("rides", labels(), "model", split=SPLIT)
    with pytest.raises(TrainingSetError, match="several parts"):
        made.to_polars()
    with pytest.raises(TrainingSetError, match="did you mean 'train'"):
        made.to_polars("trian")
    with pytest.raises(TrainingSetError, match="last_kn"):
        made.batches("train", columns=["last_kn"])


def test_late_rows_count_unless_only_what_was_known_is_asked_for(store: FeatureStore) -> None:
    late = labels().with_columns(event_timestamp=pl.lit(datetime(2020, 1, 16, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")))
    today = store.create_dataset("today", late, "model").to_polars()["last_km"].null_count()
    known = store.create_dataset("known", late, "model", as_known=True).to_polars()["last_km"].null_count()
    assert (today, known) == (6, 40)


def test_workers_of_a_torch_loader_share_the_rows(store: FeatureStore) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    made = store.create_dataset("rides", labels(), "model", split=SPLIT)
    dataset = made.to_torch("train", batch_size=5, columns=["last_km", "y"], shuffle_seed=3)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    kms = torch.cat([batch["last_km"] for batch in loader]).tolist()
    expected = made.to_polars("train")["last_km"].fill_null(float("nan")).to_list()
    assert sorted(map(str, kms)) == sorted(map(str, expected))
