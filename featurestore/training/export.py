"""Writing a retrieval's result as the next version of a training set."""

from __future__ import annotations

import getpass
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import TrainingSetError
from featurestore.ingestion.parts import column_options
from featurestore.registry.types import plain_arrow
from featurestore.training.content_hash import TableHash, content_hash
from featurestore.training.manifest import SEMANTICS_VERSION, Manifest, Shard, manifest_key, schema_text, versions_of
from featurestore.training.splits import Split

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage
    from featurestore.offline import HistoricalJob
    from featurestore.project import Project

READ_ROWS = 65_536
ROW_GROUP_ROWS = 16_384


def export(
    project: Project,
    name: str,
    job: HistoricalJob,
    split: Split,
    options: Mapping[str, Any],
    *,
    rows_per_shard: int,
    tags: Mapping[str, str],
    rebuilt_from: int | None = None,
    expected_hash: str | None = None,
) -> Manifest:
    """Write a retrieval's result and its labels, and then, in one atomic step, the manifest that makes them a version."""
    from featurestore import __version__

    storage = project.lake.storage
    folder = f"datasets/{name}/{uuid.uuid4().hex}"
    labels = job.labels.to_arrow()
    written = _write_parts(storage, folder, job, split, rows_per_shard, project.config.resolve(project.config.engine.spill))
    if not sum(written.rows.values()):
        raise TrainingSetError(
            f"no label row is in any part of {name!r}", hint=f"{written.unassigned} rows lie outside the split"
        )
    if expected_hash is not None and written.content_hash() != expected_hash:
        raise TrainingSetError(
            f"rebuilding {name!r} version {rebuilt_from} gave other content",
            hint="compare the definitions and the lake's tables with its manifest: featurestore dataset show",
        )
    storage.put(f"{folder}/labels.parquet", _parquet_bytes(labels))
    manifest = Manifest(
        name=name,
        version=0,
        created_at=project.clock.now().isoformat(),
        author=getpass.getuser(),
        features=tuple(job.features),
        options=dict(options),
        revision=job.revision,
        definition_versions=dict(job.definition_versions),
        lake_versions=dict(job.versions),
        semantics_version=SEMANTICS_VERSION,
        software_version=__version__,
        engine=job.record,
        split=split,
        label_key=f"{folder}/labels.parquet",
        label_digest=content_hash(labels),
        label_columns=tuple(labels.column_names),
        schema=schema_text(written.schema),
        rows=written.rows,
        unassigned=written.unassigned,
        null_counts=written.null_counts,
        column_hashes={part: table.columns() for part, table in written.hashes.items()},
        content_hash=written.content_hash(),
        shards=tuple(written.shards),
        rebuilt_from=rebuilt_from,
        tags=tags,
    )
    return _publish(storage, manifest)


def _publish(storage: ObjectStorage, manifest: Manifest) -> Manifest:
    """Claim the next free version number; of two writers that race for one, the loser takes the number after."""
    version = max(versions_of(storage, manifest.name), default=0)
    while True:
        version += 1
        numbered = replace(manifest, version=version)
        if storage.create(manifest_key(manifest.name, version), numbered.to_json()):
            return numbered


@dataclass
class _Written:
    """What has been written so far."""

    schema: pa.Schema
    rows: dict[str, int]
    hashes: dict[str, TableHash]
    null_counts: dict[str, int]
    shards: list[Shard] = field(default_factory=list)
    unassigned: int = 0

    def content_hash(self) -> str:
        text = json.dumps({part: [self.rows[part], table.hexdigest()] for part, table in self.hashes.items()})
        return hashlib.sha256(text.encode()).hexdigest()


def _write_parts(
    storage: ObjectStorage, folder: str, job: HistoricalJob, split: Split, rows_per_shard: int, spill: Path
) -> _Written:
    """Stream the result once through a local file, then from it into the shards of its parts: memory is one batch a part."""
    spill.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spill) as scratch:
        whole = Path(scratch) / "result.parquet"
        job.to_parquet(str(whole))
        with pq.ParquetFile(whole) as file:
            schema = pa.schema([pa.field(f.name, plain_arrow(f.type)) for f in file.schema_arrow])
            written = _Written(
                schema,
                dict.fromkeys(split.parts, 0),
                {part: TableHash(schema) for part in split.parts},
                dict.fromkeys(schema.names, 0),
            )
            writers = {part: _PartWriter(storage, folder, part, schema, Path(scratch), rows_per_shard) for part in split.parts}
            for batch in file.iter_batches(READ_ROWS):
                _deal(batch, split, written, writers)
            for writer in writers.values():
                written.shards += writer.finish()
    return written


def _deal(batch: pa.RecordBatch, split: Split, written: _Written, writers: Mapping[str, _PartWriter]) -> None:
    table = pa.Table.from_batches([batch])
    parts = split.assign(pl.DataFrame(table))
    written.unassigned += parts.null_count()
    for part, writer in writers.items():
        mask = (parts == part).fill_null(value=False)
        if not mask.any():
            continue
        rows = table.filter(mask.to_arrow()).cast(written.schema)
        written.rows[part] += rows.num_rows
        written.hashes[part].update(rows)
        for name in rows.column_names:
            written.null_counts[name] += rows.column(name).null_count
        writer.write(rows)


class _PartWriter:
    """Writes one part as numbered shards of at most so many rows."""

    def __init__(self, storage: ObjectStorage, folder: str, part: str, schema: pa.Schema, scratch: Path, limit: int) -> None:
        self._storage, self._folder, self._part, self._schema, self._limit = storage, folder, part, schema, limit
        self._path = scratch / f"{part}.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._shards: list[Shard] = []

    def write(self, table: pa.Table) -> None:
        """Add rows, opening and closing shards as they fill."""
        for piece in self._pieces(table):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._path, self._schema, **column_options(piece))
            self._writer.write_table(piece, row_group_size=ROW_GROUP_ROWS)
            self._rows += piece.num_rows
            if self._rows == self._limit:
                self._close()

    def finish(self) -> Sequence[Shard]:
        """Close the last shard; a part without rows has one empty shard, so that it can be read."""
        if self._writer is None and not self._shards:
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        if self._writer is not None:
            self._close()
        return self._shards

    def _pieces(self, table: pa.Table) -> Iterator[pa.Table]:
        offset = 0
        while offset < table.num_rows:
            room = min(self._limit - self._rows, table.num_rows - offset)
            yield table.slice(offset, room)
            offset += room

    def _close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        key = f"{self._folder}/{self._part}/part-{len(self._shards):05d}.parquet"
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._path.stat().st_size
        self._storage.put(key, self._path)
        self._shards.append(Shard(self._part, key, self._rows, size, digest))
        self._path.unlink()
        self._writer, self._rows = None, 0


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
