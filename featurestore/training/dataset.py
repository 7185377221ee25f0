"""One version of a training set: reading it, verifying it, rebuilding it, comparing it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import NotFoundError, TrainingSetError, did_you_mean
from featurestore.training.batches import BatchReader
from featurestore.training.compare import DatasetDiff, diff
from featurestore.training.content_hash import TableHash, content_hash
from featurestore.training.export import export
from featurestore.training.manifest import Manifest, manifest_key, stored_versions, versions_of

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage
    from featurestore.project import Project
    from featurestore.registry.definitions import Definitions


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found. ``problems`` is empty when everything is as the manifest says."""

    name: str
    version: int
    problems: tuple[str, ...]
    recomputed: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "name": self.name,
            "version": self.version,
            "ok": self.ok,
            "recomputed": self.recomputed,
            "problems": list(self.problems),
        }

    def __str__(self) -> str:
        how = "files and recomputed features" if self.recomputed else "files"
        title = (
            f"{self.name} version {self.version}: {how} {'are as the manifest says' if self.ok else 'differ from the manifest'}"
        )
        return "\n".join([title, *(f"  {problem}" for problem in self.problems)])


class TrainingSet:
    """One immutable version. ``manifest`` holds its facts."""

    def __init__(self, project: Project, manifest: Manifest) -> None:
        self._project = project
        self.manifest = manifest

    @property
    def name(self) -> str:
        """Its name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Its version, from 1."""
        return self.manifest.version

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parts: ``("all",)`` without a split."""
        return self.manifest.split.parts

    def __repr__(self) -> str:
        rows = ", ".join(f"{part}: {count:,} rows" for part, count in self.manifest.rows.items())
        return f"TrainingSet({self.name!r}, version {self.version}, {rows}, content {self.manifest.content_hash[:12]})"

    # -- reading ---------------------------------------------------------------------------------------------------------

    def uris(self, part: str | None = None) -> list[str]:
        """The Parquet files of a part, in the order of the labels; of the only part where there is one."""
        return [self._storage.uri(shard.key) for shard in self._shards(part)]

    def scan(self, part: str | None = None) -> pl.LazyFrame:
        """A part as a lazy Polars frame."""
        return pl.scan_parquet(self.uris(part), storage_options=self._storage.storage_options)

    def to_polars(self, part: str | None = None) -> pl.DataFrame:
        """A part as a Polars frame."""
        return self.scan(part).collect()

    def to_arrow(self, part: str | None = None) -> pa.Table:
        """A part as an Arrow table."""
        return pa.concat_tables([file.read() for file in self._open(part)])

    def to_pandas(self, part: str | None = None) -> Any:
        """A part as a pandas frame. Null integers become NaN; ``to_arrow().to_pandas(types_mapper=...)`` keeps them."""
        return self.to_arrow(part).to_pandas()

    def batches(
        self,
        part: str | None = None,
        *,
        batch_size: int = 1024,
        columns: Sequence[str] | None = None,
        shuffle_seed: int | None = None,
        drop_remainder: bool = False,
    ) -> BatchReader:
        """A reader of batches, sharded over consumers and shuffled by a seed."""
        unknown = set(columns or ()) - set(self.manifest.arrow_schema().names)
        if unknown:
            known = self.manifest.arrow_schema().names
            raise TrainingSetError(f"{self.name!r} has no columns {sorted(unknown)}", hint=did_you_mean(min(unknown), known))
        shards = _OpenShards(self._storage, tuple(shard.key for shard in self._shards(part)))
        return BatchReader(
            shards, batch_size, None if columns is None else tuple(columns), shuffle_seed, drop_remainder=drop_remainder
        )

    def to_torch(
        self, part: str | None = None, *, rank: int | None = None, world_size: int | None = None, **options: Any
    ) -> Any:
        """A PyTorch ``IterableDataset`` of batches, for ``DataLoader(..., batch_size=None)``; options of :meth:`batches`."""
        from featurestore.training.torch_reader import TorchTrainingSet

        return TorchTrainingSet(self.batches(part, **options), rank=rank, world_size=world_size)

    # -- trusting --------------------------------------------------------------------------------------------------------

    def verify(self, *, recompute: bool = True) -> Verification:
        """Check that the files hold what the manifest says and, unless told otherwise, that computing the features again
        from the recorded labels, definitions and table versions gives the same content.
        """
        problems = self._check_files()
        if recompute and not problems:
            again = self._recompute().to_arrow()
            problems += self._check_recomputed(again)
        return Verification(self.name, self.version, tuple(problems), recompute)

    def rebuild(self) -> TrainingSet:
        """Compute this version again from what it recorded, as a new version with the same content hash.

        Raises:
            TrainingSetError: the content is not the same, or what it was made from is gone.
        """
        m = self.manifest
        rows = max((shard.rows for shard in m.shards), default=0) or 1_000_000
        manifest = export(
            self._project,
            m.name,
            self._recompute(),
            m.split,
            m.options,
            rows_per_shard=max(rows, 1),
            tags=m.tags,
            rebuilt_from=m.version,
            expected_hash=m.content_hash,
        )
        return TrainingSet(self._project, manifest)

    def diff(self, other: TrainingSet) -> DatasetDiff:
        """What has changed from this version to another: rows, columns, values, definitions."""
        return diff(self, other)

    # -- inside ----------------------------------------------------------------------------------------------------------

    @property
    def _storage(self) -> ObjectStorage:
        return self._project.lake.storage

    def _shards(self, part: str | None) -> list[Any]:
        if part is None:
            if len(self.parts) > 1:
                raise TrainingSetError(f"{self.name!r} has several parts", hint=f"name one of {', '.join(self.parts)}")
            part = self.parts[0]
        if part not in self.parts:
            raise TrainingSetError(f"{self.name!r} has no part {part!r}", hint=did_you_mean(part, self.parts))
        return [shard for shard in self.manifest.shards if shard.part == part]

    def _open(self, part: str | None) -> list[pq.ParquetFile]:
        return list(_OpenShards(self._storage, tuple(shard.key for shard in self._shards(part)))())

    def _check_files(self) -> list[str]:
        problems = []
        for shard in self.manifest.shards:
            if not self._storage.exists(shard.key):
                problems.append(f"{shard.key} is missing")
            elif hashlib.sha256(self._storage.get(shard.key)).hexdigest() != shard.sha256:
                problems.append(f"{shard.key} was changed after it was written")
        labels = pq.read_table(io.BytesIO(self._storage.get(self.manifest.label_key)))
        if content_hash(labels) != self.manifest.label_digest:
            problems.append(f"{self.manifest.label_key} was changed after it was written")
        return problems

    def _check_recomputed(self, table: pa.Table) -> list[str]:
        m = self.manifest
        schema = m.arrow_schema()
        if table.column_names != schema.names:
            return [f"columns are {table.column_names} now, were {schema.names}"]
        parts = m.split.assign(pl.DataFrame(table))
        problems = []
        for part in self.parts:
            hashes = TableHash(schema)
            hashes.update(table.filter((parts == part).fill_null(value=False).to_arrow()).cast(schema))
            problems += [
                f"part {part!r}, column {name!r}: recomputed values differ"
                for name, value in hashes.columns().items()
                if value != m.column_hashes[part][name]
            ]
        return problems

    def _recompute(self) -> Any:
        from featurestore.offline import get_historical_features

        m = self.manifest
        labels = pl.read_parquet(io.BytesIO(self._storage.get(m.label_key)))
        at = _AtRevision(self._project, self._definitions())
        return get_historical_features(
            at, labels, list(m.features), engine=m.engine.get("name"), versions=dict(m.lake_versions), **m.options
        )

    def _definitions(self) -> Definitions:
        """The definitions of the recorded revision, with this repository's code where it is the same code."""
        from featurestore.registry.repository import bind_code

        applied = self._project.catalog.definitions(self.manifest.revision)
        return bind_code(applied, self._project.config.resolve(self._project.config.definitions))


@dataclass(frozen=True, slots=True)
class _OpenShards:
    """Opens the shards where they are read: in a worker process, with handles of its own."""

    storage: ObjectStorage
    keys: tuple[str, ...]

    def __call__(self) -> Sequence[pq.ParquetFile]:
        return [pq.ParquetFile(self._file(key)) for key in self.keys]

    def _file(self, key: str) -> Any:
        if self.storage.is_local:
            return self.storage.uri(key)
        return pa.PythonFile(obstore.open_reader(self.storage.store, key), mode="r")


class _AtRevision:
    """A project as it was: everything of today's but the definitions."""

    def __init__(self, project: Project, definitions: Definitions) -> None:
        self.config, self.clock = project.config, project.clock
        self.catalog, self.lake = project.catalog, project.lake
        self.definitions = definitions

    @property
    def online(self) -> Any:
        """Rebuilding reads no online store."""
        raise TrainingSetError("a rebuild reads no online store")


def open_dataset(project: Project, name: str, version: int | None = None) -> TrainingSet:
    """A version of a training set; the newest where none is named.

    Raises:
        NotFoundError: no such training set, or no such version of it.
    """
    storage = project.lake.storage
    versions = versions_of(storage, name)
    if not versions:
        raise NotFoundError("training set", name, {found for found, _ in stored_versions(storage)})
    if version is not None and version not in versions:
        raise NotFoundError("training set", f"{name} version {version}", hint=f"versions are {versions[0]} to {versions[-1]}")
    return TrainingSet(project, Manifest.from_json(storage.get(manifest_key(name, version or versions[-1]))))


def list_datasets(project: Project) -> Sequence[TrainingSet]:
    """Every version of every training set, by name and version."""
    storage = project.lake.storage
    return [open_dataset(project, name, version) for name, version in stored_versions(storage)]
