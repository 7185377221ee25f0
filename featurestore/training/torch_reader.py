"""A training set as a PyTorch ``IterableDataset``. Importing this module imports PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from featurestore.training.batches import BatchReader, to_numpy


class TorchTrainingSet(IterableDataset[dict[str, Any]]):  # type: ignore[misc, unused-ignore]
    """Batches as dictionaries of tensors, for ``DataLoader(dataset, batch_size=None, num_workers=n)``.

    Rows are dealt over ranks and over the workers of each, every row to exactly one. Numbers, booleans and vectors become
    tensors (null integers: NaN in float64), timestamps int64 microseconds, everything else a list.

    Args:
        reader: what to read, and how.
        rank, world_size: of this process; taken from ``torch.distributed`` or the launcher's environment where not given.
    """

    def __init__(self, reader: BatchReader, *, rank: int | None = None, world_size: int | None = None) -> None:
        super().__init__()
        self.reader = reader
        self.rank, self.world_size = _place(rank, world_size)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; the same number on every rank."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        tables = self.reader.read(consumer=self.rank * workers + worker, consumers=self.world_size * workers, epoch=self.epoch)
        for table in tables:
            yield {name: _tensor(values) for name, values in to_numpy(table).items()}


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _tensor(values: Any) -> Any:
    if values.dtype.kind == "M":
        values = values.astype(np.int64)
    if values.dtype.kind in "biuf":
        return torch.from_numpy(np.array(values))
    return values.tolist()
