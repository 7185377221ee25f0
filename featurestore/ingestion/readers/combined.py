"""The combined log format of Apache httpd and NGINX, and the common one, which is its beginning.

Columns: ``host``, ``ident``, ``user``, ``time``, ``method``, ``path``, ``protocol``, ``request`` (only where the request line
is not method, path and protocol), ``status``, ``bytes``, ``referer``, ``agent``. ``-`` is null.
Source: https://httpd.apache.org/docs/2.4/logs.html#combined
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from featurestore.ingestion.readers.blocks import Block
from featurestore.ingestion.readers.chunks import Chunk, TypeOf, no_type
from featurestore.ingestion.readers.logs import match_block, read_log

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions

TIME_FORMAT: Final = "%d/%b/%Y:%H:%M:%S %z"
_QUOTED: Final = r'(?:[^"\\]|\\.)*'
PATTERN: Final = (
    r"(?<host>\S+) (?<ident>\S+) (?<user>.*?) \[(?<time>[^\]]+)\] "
    rf'"(?:(?<method>[A-Z-]+) (?<path>[^\s"\\]\S*)(?: (?<protocol>HTTP/[0-9.]+))|(?<request>{_QUOTED}))" '
    r"(?<status>[0-9]{3}|-) (?<bytes>[0-9]+|-)"
    rf'(?: "(?<referer>{_QUOTED})" "(?<agent>{_QUOTED})")?'
)


def read(
    local: LocalInput,
    options: ReadOptions,
    *,
    as_text: frozenset[str] = frozenset(),  # noqa: ARG001
    type_of: TypeOf = no_type,  # noqa: ARG001
) -> Iterator[Chunk]:
    """The rows of an access log."""
    return read_log(local, _options(options), PATTERN)


def read_lines(header: str, lines: Sequence[str], options: ReadOptions) -> Chunk:  # noqa: ARG001
    """Single lines, as they lie in the quarantine."""
    return match_block(Block("".join(f"{line}\n" for line in lines).encode(), 1), _options(options), PATTERN)


def _options(options: ReadOptions) -> ReadOptions:
    return replace(options, null_values=("-", *options.null_values))
