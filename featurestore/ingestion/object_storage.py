"""Bytes under keys: a local folder or an S3 bucket, one interface.

Keys are relative to the storage's URL and use ``/``. A put is atomic on both: a reader sees the whole object or none of it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from featurestore.config import Config, LakeConfig
from featurestore.errors import LakeError

if TYPE_CHECKING:
    import pyarrow as pa

_S3_URL: Final = re.compile(r"s3a?://([^/]+)/?(.*)")
_PROBE_PREFIX: Final = "_probe/"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object. ``modified`` is the storage's own clock."""

    key: str
    size: int
    modified: datetime
    etag: str | None


class ObjectStorage:
    """A local folder or an S3 bucket (or a prefix of one). Made by :func:`open_storage`; safe to share between threads.

    Args:
        url: an absolute folder, or ``s3://bucket/prefix`` without a closing slash.
        settings: endpoint and credentials, for S3.
    """

    def __init__(self, url: str, settings: LakeConfig) -> None:
        self.url = url
        self.settings = settings
        match = _S3_URL.fullmatch(url)
        self.bucket: str = match[1] if match else ""
        self.prefix: str = match[2].rstrip("/") if match else ""

    def __repr__(self) -> str:
        return f"ObjectStorage({self.url!r})"

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return not self.bucket

    @property
    def endpoint(self) -> str:
        """The server's URL; empty for AWS's own."""
        return self.settings.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")

    def uri(self, key: str = "") -> str:
        """Where a key is: an absolute path, or an ``s3://`` URL."""
        return f"{self.url}/{key}" if key else self.url

    def key(self, uri: str) -> str:
        """The key of an URI that lies in this storage.

        Raises:
            LakeError: it lies elsewhere.
        """
        plain = uri.removeprefix("file://")
        if not plain.startswith(f"{self.url}/"):
            raise LakeError(f"{uri} is not in {self.url}")
        return plain.removeprefix(f"{self.url}/")

    @cached_property
    def store(self) -> LocalStore | S3Store:
        """The obstore object underneath."""
        if self.is_local:
            Path(self.url).mkdir(parents=True, exist_ok=True)
            return LocalStore(self.url)
        return self.bucket_store(self.bucket, prefix=self.prefix)

    def bucket_store(self, bucket: str, *, prefix: str = "") -> S3Store:
        """A bucket reached with this storage's endpoint and credentials."""
        return S3Store(bucket, prefix=prefix or None, config=self.options())

    def options(self) -> dict[str, Any]:
        """Settings of an S3 client, as obstore, deltalake and Polars all name them. Empty for a local folder.

        Credentials that the settings leave out are found where AWS clients look: the environment, then the machine's role.
        """
        if self.is_local and not self.settings.endpoint and not self.settings.access_key:
            return {}
        options = {"aws_region": self.settings.region}
        if self.endpoint:
            options["aws_endpoint_url"] = self.endpoint
        if self.endpoint.startswith("http://"):
            options["aws_allow_http"] = "true"
        if self.settings.access_key:
            options["aws_access_key_id"] = self.settings.access_key
            options["aws_secret_access_key"] = self.settings.secret_key
        return options

    @property
    def storage_options(self) -> dict[str, str] | None:
        """What ``deltalake`` and ``polars`` take as ``storage_options``; None for a local folder."""
        return None if self.is_local else self.options()

    # -- objects ---------------------------------------------------------------------------------------------------------

    def put(self, key: str, data: Any) -> None:
        """Write an object, in place of what was there. Local objects are on disk, not only in the cache, when this returns.

        Args:
            data: bytes, any buffer, or the path of a file.
        """
        with self._translated(f"write {self.uri(key)}"):
            obstore.put(self.store, key, data if isinstance(data, Path) else memoryview(data).cast("B"))
        self._flush(key)

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[pa.NativeFile]:
        """A stream that becomes an object, in place of what was there, when the block ends; nothing does where it fails.

        A local one is written as it comes and is on disk when the block has ended; for a bucket it is gathered.
        """
        import pyarrow as pa

        if not self.is_local:
            gathered = pa.BufferOutputStream()
            yield gathered
            self.put(key, gathered.getvalue())
            return
        path = Path(self.url) / key
        staged = path.with_name(f"{path.name}#{uuid4().hex}")  # named as obstore names its own: listings show neither
        with self._translated(f"write {self.uri(key)}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with pa.OSFile(str(staged), "wb") as file:
                    yield file
                _to_disk(staged)
                staged.replace(path)
            finally:
                staged.unlink(missing_ok=True)

    def create(self, key: str, data: Any) -> bool:
        """Write an object unless there is one already; of several writers exactly one gets True."""
        with self._translated(f"create {self.uri(key)}"):
            try:
                obstore.put(self.store, key, memoryview(data).cast("B"), mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        self._flush(key)
        return True

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            LakeError: there is none.
        """
        with self._translated(f"read {self.uri(key)}"):
            return bytes(obstore.get(self.store, key).bytes())

    def find(self, key: str) -> bytes | None:
        """The whole object; None where there is none."""
        with self._translated(f"read {self.uri(key)}"):
            try:
                return bytes(obstore.get(self.store, key).bytes())
            except FileNotFoundError:
                return None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer where the object ends."""
        if length <= 0:
            return b""
        with self._translated(f"read {self.uri(key)}"):
            return bytes(obstore.get_range(self.store, key, start=start, length=length))

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object, without its bytes; None where there is none."""
        with self._translated(f"look at {self.uri(key)}"):
            try:
                return _info(obstore.head(self.store, key))
            except FileNotFoundError:
                return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.head(key) is not None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below a folder, in no particular order; none where the folder is not there."""
        with self._translated(f"list {self.uri(prefix)}"):
            for chunk in obstore.list(self.store, prefix or None):
                yield from map(_info, chunk)

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the folders directly in a folder, sorted."""
        with self._translated(f"list {self.uri(prefix)}"):
            found = obstore.list_with_delimiter(self.store, prefix or None)["common_prefixes"]
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found))

    def delete(self, keys: str | Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        several = [keys] if isinstance(keys, str) else [*keys]
        if not several:
            return
        with self._translated(f"remove objects of {self.url}"), contextlib.suppress(FileNotFoundError):
            if self.is_local:
                for key in several:
                    (Path(self.url) / key).unlink(missing_ok=True)
            else:
                obstore.delete(self.store, several)

    def probe_conditional_put(self) -> None:
        """Make sure that the server honours ``If-None-Match: *``, on which atomic commits rest.

        Raises:
            LakeError: it does not, or it cannot be reached.
        """
        key = f"{_PROBE_PREFIX}{uuid4().hex}"
        try:
            first, second = self.create(key, b"first"), self.create(key, b"second")
        finally:
            with contextlib.suppress(LakeError):
                self.delete(key)
        if not first or second:
            raise LakeError(
                f"the object storage of {self.url} overwrites an object although `If-None-Match: *` forbids it: "
                "two writers would lose each other's commits",
                hint="use AWS S3, MinIO of 2024 or newer, SeaweedFS or Ceph; gateways such as `rclone serve s3` are not safe",
            )

    def _flush(self, key: str) -> None:
        """A commit must never outlive the files it names, so that they are on disk first."""
        if self.is_local:
            _to_disk(Path(self.url) / key)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            bucket_missing = "NoSuchBucket" in str(error)
            raise LakeError(
                f"cannot {what}: " + (f"there is no bucket {self.bucket!r}" if bucket_missing else "there is no such object"),
                hint="create it: featurestore.ingestion.buckets.create_bucket" if bucket_missing else None,
            ) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise LakeError(
                f"cannot {what}: the server refused these credentials ({_first_line(error)})",
                hint="set access_key and secret_key in [lake], or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from error
        except (BaseError, OSError) as error:
            raise LakeError(
                f"cannot {what}: {_first_line(error)}",
                hint=None if self.is_local else f"is the endpoint right? It is {self.endpoint or 'the one of AWS'}",
            ) from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_storage(
    where: Config | LakeConfig | str, *, root: Path | None = None, settings: LakeConfig | None = None
) -> ObjectStorage:
    """Open a folder or an ``s3://`` URL; nothing is read or written yet.

    Args:
        where: a project's settings (the lake's storage), a ``[lake]`` section, or an URL or path.
        root: where a relative path starts; the working folder unless given, the project's root for a project's settings.
        settings: endpoint and credentials for an ``s3://`` URL.

    Raises:
        LakeError: the URL's scheme is neither a path nor ``s3://``.
    """
    if isinstance(where, Config):
        return open_storage(where.lake, root=where.root)
    if isinstance(where, LakeConfig):
        return open_storage(where.url, root=root, settings=where)
    settings = settings or LakeConfig()
    if match := _S3_URL.fullmatch(where):
        prefix = match[2].strip("/")
        return ObjectStorage(f"s3://{match[1]}/{prefix}" if prefix else f"s3://{match[1]}", settings)
    if "://" in where and not where.startswith("file://"):
        raise LakeError(f"no object storage is known for {where!r}", hint="give a folder or s3://bucket/prefix")
    path = ((root or Path()) / where.removeprefix("file://")).resolve()
    return ObjectStorage(str(path), settings)


def _info(meta: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"], meta.get("e_tag"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
