"""What one asks to ingest, as a list of inputs: files, remote objects, frames.

Each input is one batch. Files are read in the order in which they are given; those of a glob or folder by name. A folder means
every file below it whose name does not begin with ``.`` or ``_``. Remote files are first copied to a temporary one, for their
content is hashed before it is read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from featurestore.errors import IngestionError
from featurestore.ingestion.casts import in_plain_layout
from featurestore.ingestion.decompression import compression_of, open_plain, single_member

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage

_GLOB: Final = frozenset("*?[")
_PART: Final = 8 << 20
_HASHED: Final = 4 << 20
_ROWS: Final = 64 * 1024


@dataclass(frozen=True)
class LocalInput:
    """One input that lies on this machine.

    Args:
        name: how reports and errors call it: its path, its URL, or ``frame``.
        path: its file.
        table: its rows, where it is a frame.
        from_json: whether its rows came from JSON or Python literals, in which an instant can only be text.
    """

    name: str
    path: Path | None = None
    table: pa.Table | None = None
    from_json: bool = False

    @cached_property
    def digest(self) -> str:
        """BLAKE3 of its content: the bytes of the file as it lies there, or the rows of the frame in Arrow's IPC form."""
        digest = blake3(max_threads=blake3.AUTO)
        if self.table is None:
            # Not mapped into memory: a file that is cut off meanwhile would end the process.
            piece = memoryview(bytearray(min(_HASHED, self.size + 1)))
            with self._path.open("rb", buffering=0) as file:
                while size := file.readinto(piece):
                    digest.update(piece[:size])
        else:
            _hash_table(self.table, digest.update)
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the file, or rows of the frame."""
        return self._path.stat().st_size if self.table is None else int(self.table.num_rows)

    @property
    def format_name(self) -> str:
        """The name that says the format: that of the member, for a ZIP archive."""
        if self.path is not None and compression_of(self.path) == "zip":
            return single_member(self.path, self.name)
        return self.name

    @contextmanager
    def open(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Its decompressed bytes, and the file under them."""
        with open_plain(self._path, self.name) as opened:
            yield opened

    @contextmanager
    def plain_path(self) -> Iterator[Path]:
        """A file of its decompressed bytes, for formats that are not read from front to back."""
        if compression_of(self._path) is None:
            yield self._path
            return
        with tempfile.NamedTemporaryFile(prefix="featurestore-") as copy:
            with self.open() as (stream, _):
                shutil.copyfileobj(stream, copy, _PART)
            copy.flush()
            yield Path(copy.name)

    @property
    def _path(self) -> Path:
        if self.path is None:
            raise IngestionError("a frame has no file", file=self.name)
        return self.path


@dataclass(frozen=True, slots=True)
class Input:
    """One input, wherever it is: :meth:`local` brings it here for the length of a ``with`` block."""

    name: str
    _local: LocalInput | None = None
    _fetch: Callable[[IO[bytes]], None] | None = None

    @contextmanager
    def local(self) -> Iterator[LocalInput]:
        """The input on this machine."""
        if self._local is not None:
            yield self._local
        elif self._fetch is not None:
            with tempfile.NamedTemporaryFile(prefix="featurestore-") as copy:
                self._fetch(copy)
                copy.flush()
                yield LocalInput(self.name, Path(copy.name))


def resolve_inputs(data: Any, storage: ObjectStorage) -> list[Input]:
    """The inputs that something stands for.

    Args:
        data: a path, glob, folder, ``s3://`` or ``http(s)://`` URL, a frame (Arrow, Polars, pandas, or whatever hands out
            Arrow data), rows as mappings, or a sequence of any of these.
        storage: whose endpoint and credentials reach ``s3://`` URLs.

    Raises:
        IngestionError: nothing is there, or it is none of these.
    """
    if isinstance(data, (str, os.PathLike)):
        return _of_text(os.fspath(data), storage)
    if isinstance(data, (list, tuple)) and not all(isinstance(item, Mapping) for item in data):
        if any(isinstance(item, Mapping) for item in data):
            raise IngestionError("rows among other inputs", hint="ingest rows and files one after the other")
        return [found for item in data for found in resolve_inputs(item, storage)]
    local = _of_frame(data)
    return [Input(local.name, local)]


def _of_text(text: str | bytes, storage: ObjectStorage) -> list[Input]:
    name = os.fsdecode(text)
    scheme = urlsplit(name).scheme.lower()
    if scheme in ("http", "https"):
        return [Input(name, None, lambda file: _download(name, file))]
    if scheme in ("s3", "s3a"):
        return _of_bucket(name, storage)
    return [Input(str(path), LocalInput(str(path), path)) for path in _paths(Path(name.removeprefix("file://")))]


def _paths(path: Path) -> list[Path]:
    path = path.expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path).parts)]
    elif _GLOB & set(str(path)):
        root = Path(path.anchor) if path.is_absolute() else Path()
        found = [file for file in root.glob(str(path.relative_to(path.anchor))) if file.is_file()]
    else:
        raise IngestionError("no such file or folder", file=str(path), hint=f"relative paths start in {Path.cwd()}")
    if not found:
        raise IngestionError("no files there", file=str(path))
    return sorted(found)


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _of_bucket(url: str, storage: ObjectStorage) -> list[Input]:
    import fnmatch

    import obstore
    from obstore.exceptions import BaseError

    parts = urlsplit(url.replace("?", "%3F").replace("#", "%23"))
    bucket, key = parts.netloc, parts.path.lstrip("/").replace("%3F", "?").replace("%23", "#")
    store = storage.bucket_store(bucket)
    stem = key[: min((key.index(c) for c in _GLOB if c in key), default=len(key))]
    prefix = stem if stem == key else stem.rpartition("/")[0]
    try:
        listed = [item["path"] for page in obstore.list(store, prefix=prefix or None) for item in page]
        if stem == key and not listed:
            listed = [key] if _is_object(store, key) else []
    except BaseError as error:
        raise IngestionError(f"cannot be listed: {error}", file=url, hint="check [lake] endpoint and credentials") from error
    if stem != key:
        keys = [found for found in listed if fnmatch.fnmatchcase(found, key) and found.count("/") == key.count("/")]
    else:
        below = key.rstrip("/") + "/" if key else ""
        keys = [found for found in listed if found == key or not _hidden(found.removeprefix(below).split("/"))]
    if not keys:
        raise IngestionError("no objects there", file=url)
    return [_object(store, f"s3://{bucket}/{found}", found) for found in sorted(keys)]


def _is_object(store: Any, key: str) -> bool:
    import obstore

    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _object(store: Any, url: str, key: str) -> Input:
    import obstore
    from obstore.exceptions import BaseError

    def fetch(file: IO[bytes]) -> None:
        try:
            for part in obstore.get(store, key).stream(min_chunk_size=_PART):
                file.write(part)
        except BaseError as error:
            raise IngestionError(f"cannot be read: {error}", file=url) from error

    return Input(url, None, fetch)


def _download(url: str, file: IO[bytes]) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - the scheme is http or https
            shutil.copyfileobj(response, file, _PART)
            expected = response.headers.get("Content-Length")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise IngestionError(f"cannot be downloaded: {error}", file=url) from error
    if expected is not None and file.tell() != int(expected):
        raise IngestionError(f"the download stopped at {file.tell()} of {expected} bytes", file=url, hint="try again")


# -- frames --------------------------------------------------------------------------------------------------------------


def _of_frame(data: Any) -> LocalInput:
    if isinstance(data, (list, tuple)):
        return LocalInput("rows", table=_of_rows(data), from_json=True)
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):
        data = data.collect(engine="streaming")
    if type(data).__module__.split(".")[0] == "pandas":
        data = pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if not isinstance(data, pa.Table):
        if not hasattr(data, "__arrow_c_stream__"):
            raise IngestionError(
                f"{type(data).__name__} cannot be ingested",
                hint="give a path, glob, folder, URL, a frame of Arrow, Polars or pandas, or a list of rows",
            )
        data = pa.table(data)
    return LocalInput("frame", table=data.replace_schema_metadata(None))


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError) as error:
            raise IngestionError(
                f"values of different types: {error}", file="rows", row=_first_odd(values), column=name, hint="use one type"
            ) from None
    return pa.table(columns)


def _first_odd(values: Sequence[Any]) -> int:
    """The row, counted from 1, up to which Arrow finds one type."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pa.array(values[:middle])
        except (pa.ArrowException, OverflowError):
            high = middle
        else:
            low = middle
    return high


def _hash_table(table: pa.Table, update: Callable[[bytes], object]) -> None:
    """The rows, whatever chunks, layouts and leftovers under nulls they lie in memory with."""
    table = in_plain_layout(table)
    sink = _Sink(update)
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain_with_validity(table.schema)) as writer:
        for offset in range(0, table.num_rows, _ROWS):
            part = table.slice(offset, _ROWS).combine_chunks()
            writer.write_table(_without_leftovers(part))


def plain_with_validity(schema: pa.Schema) -> pa.Schema:
    """Every column, and whether it is set."""
    fields = [f for field in schema for f in (field, pa.field(f"{field.name} is set", pa.bool_()))]
    return pa.schema(fields)


def _without_leftovers(table: pa.Table) -> pa.Table:
    arrays: list[Any] = []
    for column in table.columns:
        is_set = column.is_valid()
        if column.null_count and (pa.types.is_primitive(column.type) or pa.types.is_decimal(column.type)):
            zero = pa.Array.from_buffers(column.type, 1, [None, pa.py_buffer(bytes(_WIDEST))])[0]
            column = pc.if_else(is_set, column, zero)
        arrays += [column, is_set]
    return pa.table(arrays, schema=plain_with_validity(table.schema))


_WIDEST: Final = 32
"""Bytes of the widest value: a decimal of 256 bits."""


class _Sink:
    """A file that only hashes what is written."""

    closed = False

    def __init__(self, update: Callable[[bytes], object]) -> None:
        self._update = update

    def write(self, data: bytes) -> int:
        self._update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
