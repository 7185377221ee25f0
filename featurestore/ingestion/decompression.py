"""Compressed files as streams of plain bytes: gzip, Zstandard, and ZIP archives of one member.

What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, cast

from featurestore.errors import IngestionError

SUFFIXES: Final = (".gz", ".zst", ".zip")
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}


def compression_of(path: Path) -> str | None:
    """``gzip``, ``zstd``, ``zip``, or None for a plain file."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def single_member(path: Path, name: str) -> str:
    """The one file in a ZIP archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise IngestionError(f"not a readable ZIP archive: {error}", file=name) from None
    if len(members) != 1:
        raise IngestionError(f"the archive holds {len(members)} files", file=name, hint="unpack it, and ingest the folder")
    return members[0]


@contextmanager
def open_plain(path: Path, name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The decompressed bytes of a file, and the file under them, whose position tells how far one has come.

    Raises:
        IngestionError: the compressed data is damaged or cut short; also while reading.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        match compression_of(path):
            case "gzip":
                plain: IO[bytes] = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file)))
            case "zstd":
                import zstandard

                reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
                # The reader itself knows no lines.
                plain = stack.enter_context(io.BufferedReader(cast("io.RawIOBase", reader)))
            case "zip":
                archive = stack.enter_context(zipfile.ZipFile(file))
                plain = stack.enter_context(archive.open(single_member(path, name)))
            case _:
                plain = file
        with _translated(name):
            yield plain, file


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        raise IngestionError(f"damaged compressed data: {error}", file=name, hint="copy the file anew") from error
    except Exception as error:
        if type(error).__name__ == "ZstdError":
            raise IngestionError(f"damaged compressed data: {error}", file=name, hint="copy the file anew") from error
        raise
