"""Request bodies that are files: streamed to disk as they arrive, within a limit."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from featurestore.api.errors import HttpError
from featurestore.api.limits import ARROW_STREAM, body_chunks, header

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

MULTIPART: Final = "multipart/form-data"
SUFFIXES: Final = {
    "text/csv": ".csv",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    ARROW_STREAM: ".arrow",
    "application/vnd.apache.arrow.file": ".arrow",
    "text/plain": ".log",
    "application/octet-stream": "",
}
"""What a raw body is, by its content type; ``application/octet-stream`` needs ``?filename=`` or ``?format=``."""
_WRITE_BYTES: Final = 1 << 20
_MAX_FIELD_BYTES: Final = 1 << 20
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(slots=True)
class Upload:
    """What a request brought. ``digest``: SHA-256 over the bytes of the files, in their order."""

    files: list[Path] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    digest: str = ""


class _Sink:
    """Gathers small pieces and writes them to one file in large ones, off the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("wb")
        self.pending = bytearray()

    async def flush(self) -> None:
        data, self.pending = bytes(self.pending), bytearray()
        if data:
            await anyio.to_thread.run_sync(self.file.write, data)


class _Parts:
    """The state of one multipart body: callbacks of the parser, which are synchronous, fill it."""

    def __init__(self, folder: Path, upload: Upload) -> None:
        self.folder, self.upload = folder, upload
        self.sinks: list[_Sink] = []
        self.sink: _Sink | None = None
        self.name = ""
        self.text = bytearray()
        self.headers: dict[bytes, bytes] = {}
        self.header_name, self.header_value = bytearray(), bytearray()
        self.complete = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self.headers.clear,
            "on_header_field": lambda data, start, end: self.header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.header_value.extend(data[start:end]),
            "on_header_end": self.header_end,
            "on_headers_finished": self.open_part,
            "on_part_data": self.part_data,
            "on_part_end": self.close_part,
            "on_end": lambda: setattr(self, "complete", True),
        }

    def header_end(self) -> None:
        self.headers[bytes(self.header_name).lower()] = bytes(self.header_value)
        self.header_name, self.header_value = bytearray(), bytearray()

    def open_part(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        self.name = options.get(b"name", b"").decode("utf-8", "replace")
        self.text = bytearray()
        self.sink = None
        if b"filename" in options:
            path = self.folder / safe_name(options[b"filename"].decode("utf-8", "replace"), len(self.sinks))
            self.sink = _Sink(path)
            self.sinks.append(self.sink)
            self.upload.files.append(path)

    def part_data(self, data: bytes, start: int, end: int) -> None:
        target = self.text if self.sink is None else self.sink.pending
        target.extend(data[start:end])
        if self.sink is None and len(self.text) > _MAX_FIELD_BYTES:
            raise HttpError(413, "field_too_large", f"the form field {self.name!r} is larger than {_MAX_FIELD_BYTES:,} bytes")

    def close_part(self) -> None:
        if self.sink is None:
            self.upload.fields[self.name] = self.text.decode("utf-8", "replace")


def safe_name(name: str, index: int) -> str:
    """A file name without a path or odd characters; the suffix, which tells the format, stays.

    >>> safe_name("../../etc/flights 2013.csv.gz", 0)
    '0-flights_2013.csv.gz'
    """
    return f"{index}-{_UNSAFE.sub('_', name.replace(chr(92), '/').rpartition('/')[2])[-100:] or 'upload'}"


@asynccontextmanager
async def receive_upload(scope: Scope, receive: Receive, *, folder: Path, limit: int, filename: str) -> AsyncIterator[Upload]:
    """The files of a request on disk; they are gone when the block ends.

    Args:
        folder: where they are put, in a folder of their own.
        limit: the most bytes that are read.
        filename: the name of a raw body, where the caller gave one.

    Raises:
        HttpError: 413 too large, 415 another content type, 400 a broken multipart body or no file in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="upload-") as own:
        upload = Upload()
        media_type, options = parse_options_header(header(scope, b"content-type").encode("latin-1"))
        kind = media_type.decode("latin-1").lower()
        if header(scope, b"content-encoding") not in ("", "identity"):
            hint = "send a compressed file without Content-Encoding and with ?filename=...csv.gz"
            raise HttpError(415, "unsupported_encoding", "the body has a Content-Encoding", hint=hint)
        chunks = body_chunks(scope, receive, limit)
        if kind == MULTIPART:
            await _receive_parts(chunks, options.get(b"boundary", b""), Path(own), upload)
        elif kind in SUFFIXES:
            await _receive_raw(chunks, Path(own) / safe_name(filename or f"body{SUFFIXES[kind]}", 0), upload)
        else:
            found = f"content type {kind!r}" if kind else "no content type"
            accepted = ", ".join((MULTIPART, *SUFFIXES))
            raise HttpError(415, "unsupported_media_type", f"the request has {found}", hint=f"send one of {accepted}")
        yield upload


async def _receive_raw(chunks: AsyncIterator[bytes], path: Path, upload: Upload) -> None:
    upload.files.append(path)
    digest = hashlib.sha256()
    sink = _Sink(path)
    with sink.file:
        async for chunk in chunks:
            digest.update(chunk)
            sink.pending += chunk
            upload.bytes += len(chunk)
            if len(sink.pending) >= _WRITE_BYTES:
                await sink.flush()
        await sink.flush()
    upload.digest = digest.hexdigest()
    if not upload.bytes:
        raise HttpError(400, "empty_body", "the body is empty", hint="send the file's bytes as the body")


async def _receive_parts(chunks: AsyncIterator[bytes], boundary: bytes, folder: Path, upload: Upload) -> None:
    if not boundary:
        raise HttpError(400, "invalid_multipart", "the multipart content type names no boundary")
    parts = _Parts(folder, upload)
    parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
    digest = hashlib.sha256()
    try:
        async for chunk in chunks:
            upload.bytes += len(chunk)
            parser.write(chunk)
            for sink in parts.sinks:
                if len(sink.pending) >= _WRITE_BYTES or sink is not parts.sink:
                    digest.update(sink.pending)
                    await sink.flush()
        for sink in parts.sinks:
            digest.update(sink.pending)
            await sink.flush()
    except MultipartParseError as error:
        raise HttpError(400, "invalid_multipart", f"the multipart body is broken: {error}") from None
    finally:
        for sink in parts.sinks:
            sink.file.close()
    upload.digest = digest.hexdigest()
    if not parts.complete:
        raise HttpError(400, "invalid_multipart", "the multipart body ends before its last boundary")
