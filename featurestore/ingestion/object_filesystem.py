"""Object storage as the file system that DuckDB asks for.

DuckDB's threads share one file handle and interleave ``seek`` and ``read``; a handle with one position gives them each other's
bytes ("Snappy decompression failure", on DuckDB 2.0 with two threads). So each thread has a position of its own here.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, cast

import obstore
from fsspec import AbstractFileSystem
from obstore.exceptions import BaseError
from obstore.store import S3Store

from featurestore.errors import LakeError

_WRITE_BUFFER = 8 << 20
_CONCURRENT_PARTS = 4


class ObjectFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Buckets as folders: ``s3://bucket/key``.

    Args:
        open_bucket: the store of a bucket.
    """

    protocol = "s3"
    cachable = False

    def __init__(self, open_bucket: Callable[[str], S3Store]) -> None:
        super().__init__()
        self._open_bucket = open_bucket
        self._stores: dict[str, S3Store] = {}
        # One look per file and query: DuckDB asks whether it exists, then for its size, then for its age.
        self._seen: dict[str, dict[str, Any]] = {}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and age of an object; a prefix of objects is a folder."""
        path = self._strip_protocol(path)
        store, key = self._locate(path)
        if key:
            with contextlib.suppress(FileNotFoundError), _translated(path):
                self._seen[path] = _file(path, obstore.head(store, key))
                return self._seen[path]
        with _translated(path):
            is_folder = not key or bool(next(iter(obstore.list(store, key, chunk_size=1)), None))
        if is_folder:
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The objects and folders directly in a folder; none where there is no such folder."""
        path = self._strip_protocol(path).rstrip("/")
        store, key = self._locate(path)
        bucket = path.partition("/")[0]
        with _translated(path):
            found = obstore.list_with_delimiter(store, key or None)
        files = [_file(f"{bucket}/{meta['path']}", meta) for meta in found["objects"]]
        self._seen.update((file["name"], file) for file in files)
        folders = [
            {"name": f"{bucket}/{name.rstrip('/')}", "size": 0, "type": "directory"} for name in found["common_prefixes"]
        ]
        return files + folders if detail else [entry["name"] for entry in files + folders]

    def size(self, path: str) -> int:
        """Bytes of an object, as of the last look at it."""
        return int(self._look(path)["size"])

    def modified(self, path: str) -> datetime:
        """When an object was written, as of the last look at it."""
        return cast("datetime", self._look(path)["modified"])

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Nothing: a folder is there when an object is in it."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: a folder is there when an object is in it."""

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        path = self._strip_protocol(path)
        self._seen.pop(path, None)
        store, key = self._locate(path)
        obstore.delete(store, key)

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        """Give an object another name, in the same bucket."""
        (store, old), (_store, new) = self._locate(path1), self._locate(path2)
        obstore.rename(store, old, new)
        self._seen.clear()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        path = self._strip_protocol(path)
        store, key = self._locate(path)
        if "r" in mode:
            return ObjectReader(store, key, int(self._look(path)["size"]))
        self._seen.pop(path, None)
        return ObjectWriter(store, key)

    def _look(self, path: str) -> dict[str, Any]:
        path = self._strip_protocol(path)
        return self._seen.get(path) or self.info(path)

    def _locate(self, path: str) -> tuple[S3Store, str]:
        bucket, _, key = self._strip_protocol(path).partition("/")
        if bucket not in self._stores:
            self._stores[bucket] = self._open_bucket(bucket)
        return self._stores[bucket], key


class ObjectReader(io.RawIOBase):
    """An object as a file; every thread has its own position."""

    def __init__(self, store: S3Store, key: str, size: int) -> None:
        super().__init__()
        self._store, self._key, self._size = store, key, size
        self._thread = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return getattr(self._thread, "position", 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._thread.position = base + offset
        return base + offset

    def read(self, size: int = -1) -> bytes:
        position = self.tell()
        rest = max(self._size - position, 0)
        length = rest if size is None or size < 0 else min(size, rest)
        if not length:
            return b""
        with _translated(self._key):
            data = bytes(obstore.get_range(self._store, self._key, start=position, length=length))
        self._thread.position = position + len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class ObjectWriter(io.RawIOBase):
    """An object that is there, whole, once the file is closed. One writing thread at a time."""

    def __init__(self, store: S3Store, key: str) -> None:
        super().__init__()
        self._key = key
        self._position = 0
        self._upload = obstore.open_writer(store, key, buffer_size=_WRITE_BUFFER, max_concurrency=_CONCURRENT_PARTS)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._upload.write(piece)
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _translated(self._key):
                self._upload.close()


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LakeError(f"cannot reach {path} in the object storage: {first}") from error


def _file(path: str, meta: Any) -> dict[str, Any]:
    return {"name": path, "size": meta["size"], "type": "file", "modified": meta["last_modified"], "ETag": meta["e_tag"]}
