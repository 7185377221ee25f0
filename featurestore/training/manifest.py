"""What a version of a training set says about itself: enough to verify it, to rebuild it and to tell it from another."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from featurestore.training.splits import Split

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage

_MANIFEST: Final = re.compile(r"datasets/([^/]+)/v(\d{6})\.json")
SEMANTICS_VERSION: Final = "1"
"""The version of ``docs/semantics.md`` that the features were computed by."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file of a part. ``key`` is its place in the lake's storage."""

    part: str
    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of one version.

    ``features`` are the references asked for; ``revision`` the registry's, ``definition_versions`` the digests of the views
    and ``lake_versions`` the table versions that were read; ``label_digest`` and ``content_hash`` are of values, not files;
    ``rows`` and ``null_counts`` are by part and by column; ``unassigned`` counts label rows of no part.
    """

    name: str
    version: int
    created_at: str
    author: str
    features: tuple[str, ...]
    options: Mapping[str, Any]
    revision: int
    definition_versions: Mapping[str, str]
    lake_versions: Mapping[str, int]
    semantics_version: str
    software_version: str
    engine: Mapping[str, Any]
    split: Split
    label_key: str
    label_digest: str
    label_columns: tuple[str, ...]
    schema: str
    rows: Mapping[str, int]
    unassigned: int
    null_counts: Mapping[str, int]
    column_hashes: Mapping[str, Mapping[str, str]]
    content_hash: str
    shards: tuple[Shard, ...]
    rebuilt_from: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def arrow_schema(self) -> pa.Schema:
        """The columns of every shard."""
        return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(self.schema)))

    def to_json(self) -> bytes:
        """As indented JSON."""
        data = asdict(self) | {"split": self.split.to_data()}
        return json.dumps(data, indent=2, sort_keys=True, default=str).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """What :meth:`to_json` wrote."""
        data = json.loads(text)
        for name in ("features", "label_columns"):
            data[name] = tuple(data[name])
        data["split"] = Split.from_data(data["split"])
        data["shards"] = tuple(Shard(**shard) for shard in data["shards"])
        return cls(**data)


def schema_text(schema: pa.Schema) -> str:
    """A schema as text that :meth:`Manifest.arrow_schema` reads."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def manifest_key(name: str, version: int) -> str:
    """Where the manifest of a version is."""
    return f"datasets/{name}/v{version:06d}.json"


def versions_of(storage: ObjectStorage, name: str) -> list[int]:
    """The versions of a training set, oldest first."""
    return [version for found, version in stored_versions(storage, f"datasets/{name}/") if found == name]


def stored_versions(storage: ObjectStorage, prefix: str = "datasets/") -> list[tuple[str, int]]:
    """Name and version of every training set below a prefix, sorted."""
    matches = (_MANIFEST.fullmatch(info.key) for info in storage.list(prefix))
    return sorted((m[1], int(m[2])) for m in matches if m)
