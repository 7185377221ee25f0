"""Batches for training: every row exactly once, whatever the number of consumers, the seed and the sizes."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.training.batches import BatchReader, to_numpy


def shards(*sizes: int, group: int = 4) -> list[pq.ParquetFile]:
    files, start = [], 0
    for size in sizes:
        sink = io.BytesIO()
        pq.write_table(pa.table({"row": pa.array(range(start, start + size), pa.int64())}), sink, row_group_size=group)
        files.append(pq.ParquetFile(io.BytesIO(sink.getvalue())))
        start += size
    return files


def rows(reader: BatchReader, **place: int) -> list[int]:
    return [row for batch in reader.read(**place) for row in batch["row"].to_pylist()]


def test_without_a_seed_the_order_of_the_labels_is_kept() -> None:
    reader = BatchReader(lambda: shards(10, 7), batch_size=5)
    assert [batch["row"].to_pylist() for batch in reader.read()] == [list(range(i, min(i + 5, 17))) for i in range(0, 17, 5)]


def test_a_seed_names_one_order_and_each_epoch_has_its_own() -> None:
    reader = BatchReader(lambda: shards(40, 23), batch_size=8, seed=3)
    first, again, later = rows(reader), rows(reader), rows(reader, epoch=1)
    assert first == again != later
    assert sorted(first) == sorted(later) == list(range(63)) != first


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    consumers=st.integers(1, 7),
    batch_size=st.integers(1, 9),
    seed=st.one_of(st.none(), st.integers(0, 5)),
    buffer_blocks=st.integers(1, 4),
)
def test_consumers_share_the_rows_without_overlap_and_evenly(
    sizes: list[int], consumers: int, batch_size: int, seed: int | None, buffer_blocks: int
) -> None:
    reader = BatchReader(lambda: shards(*sizes), batch_size, None, seed, buffer_blocks)
    taken = [rows(reader, consumer=i, consumers=consumers, epoch=2) for i in range(consumers)]
    assert sorted(sum(taken, [])) == list(range(sum(sizes)))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_dropping_the_remainder_gives_every_consumer_as_many_full_batches() -> None:
    reader = BatchReader(lambda: shards(50, 53), batch_size=4, seed=1, drop_remainder=True)
    batches = [list(reader.read(consumer=i, consumers=3)) for i in range(3)]
    assert {len(b) for b in batches} == {8}
    assert {batch.num_rows for b in batches for batch in b} == {4}


def test_columns_become_arrays() -> None:
    table = pa.table(
        {
            "number": pa.array([1, 2], pa.int64()),
            "holes": pa.array([1, None], pa.int64()),
            "vector": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
            "text": ["a", None],
        }
    )
    arrays = to_numpy(table)
    assert arrays["number"].dtype == np.int64
    assert np.isnan(arrays["holes"][1])
    assert arrays["vector"].shape == (2, 2)
    assert arrays["text"].tolist() == ["a", None]


def test_the_torch_dataset_gives_tensors_and_shards_over_workers() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from featurestore.training.torch_reader import TorchTrainingSet

    dataset = TorchTrainingSet(BatchReader(lambda: shards(30, 11), batch_size=4, seed=5), rank=0, world_size=1)
    seen = [batch["row"] for batch in DataLoader(dataset, batch_size=None, num_workers=0)]
    assert sorted(torch.cat(seen).tolist()) == list(range(41))
    halves = [TorchTrainingSet(dataset.reader, rank=r, world_size=2) for r in (0, 1)]
    both = [torch.cat([b["row"] for b in half]).tolist() for half in halves]
    assert sorted(both[0] + both[1]) == list(range(41))
