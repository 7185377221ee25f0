"""The commands by which a server moves packed rows forward, and the batches in which it gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec import ORDER_END, ORDER_START, BytesColumn

ROWS_A_CALL: Final = 1_000
BYTES_A_CALL: Final = 1 << 20
"""A script runs alone in the server: a call should take milliseconds."""

# Unsigned numbers, not a comparison of strings: a server compares strings by its locale. Mostly the event times decide, the
# first two of six; so the other four are unpacked only where those are equal.
# KEYS: of the rows, no key twice. ARGV: the rows one after the other (as arguments of their own they would cost client and
# server a third more); where each ends, four bytes each; "1" where rows as new are written too.
SCRIPT: Final = f"""
local read, cut = struct.unpack, string.sub
local rows, ends, replace_equal = ARGV[1], ARGV[2], ARGV[3] == '1'
local function is_later_by_rest(at, old)
  local c, d, e, f = read('>I4I4I4I4', rows, at + {ORDER_START + 8})
  local w, x, y, z = read('>I4I4I4I4', old, {ORDER_START + 9})
  if c ~= w then return c > w end
  if d ~= x then return d > x end
  if e ~= y then return e > y end
  if f ~= z then return f > z end
  return replace_equal
end
local function is_later(at, old)
  local a, b = read('>I4I4', rows, at + {ORDER_START})
  local u, v = read('>I4I4', old, {ORDER_START + 1})
  if a ~= u then return a > u end
  if b ~= v then return b > v end
  return is_later_by_rest(at, old)
end
local held = redis.call('MGET', unpack(KEYS))
local writes, count, start = {{}}, 0, 1
for i = 1, #KEYS do
  local stop, old = read('>I4', ends, i * 4 - 3), held[i]
  if not old or is_later(start, old) then
    writes[count + 1], writes[count + 2] = KEYS[i], cut(rows, start, stop)
    count = count + 2
  end
  start = stop + 1
end
if count > 0 then redis.call('MSET', unpack(writes)) end
return count / 2
"""
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_END, _NOTHING = BytesColumn.of([b"\r\n", b""]).arrow


def script_calls(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> Iterator[list[Any]]:
    """``EVALSHA`` commands that write the rows, each of bounded rows and bytes; of rows of one key only the newest."""
    keys = list(keys)
    if len(set(keys)) < len(keys):
        newest = _newest(keys, rows, replace_equal=replace_equal)
        keys, rows = list(newest), list(newest.values())
    for part in bounded_parts(rows):
        some = BytesColumn.of(rows[part])
        ends = np.cumsum(some.lengths).astype(">u4").tobytes()
        yield ["EVALSHA", SHA, len(some), *keys[part], some.joined, ends, b"1" if replace_equal else b"0"]


def bounded_parts(rows: Sequence[bytes]) -> Iterator[slice]:
    """The rows of one call each."""
    lengths = rows.lengths if isinstance(rows, BytesColumn) else np.fromiter(map(len, rows), np.int64, len(rows))
    if ROWS_A_CALL * lengths.max(initial=0) <= BYTES_A_CALL:
        yield from (slice(at, min(at + ROWS_A_CALL, len(rows))) for at in range(0, len(rows), ROWS_A_CALL))
        return
    start = size = 0
    for i, length in enumerate(lengths.tolist()):
        size += length
        if i - start >= ROWS_A_CALL or (size > BYTES_A_CALL and i > start):
            yield slice(start, i)
            start, size = i, length
    if start < len(rows):
        yield slice(start, len(rows))


def packed_pairs(keys: Sequence[bytes], rows: Sequence[bytes]) -> BytesColumn:
    """Each key and its row as they go over the wire; by columns, half of the time that an object for each takes.

    >>> list(packed_pairs([b"a", b"bc"], [b"row", b""]))
    [b'$1\\r\\na\\r\\n$3\\r\\nrow\\r\\n', b'$2\\r\\nbc\\r\\n$0\\r\\n\\r\\n']
    """
    names, values = BytesColumn.of(keys), BytesColumn.of(rows)
    sizes = _sizes(names, b"$%d\r\n"), _sizes(values, b"\r\n$%d\r\n")
    return BytesColumn.of_arrow(pc.binary_join_element_wise(sizes[0], names.arrow, sizes[1], values.arrow, _END, _NOTHING))


def packed_add(pairs: BytesColumn) -> bytes:
    """A command that writes rows where the server holds none of their keys, and else nothing; no key twice.

    It asks half as much of the server as the script does.
    """
    return b"".join([b"*%d\r\n$6\r\nMSETNX\r\n" % (2 * len(pairs) + 1), pairs.joined])


def _sizes(column: BytesColumn, text: bytes) -> pa.LargeBinaryArray:
    """The length of each, written so."""
    lengths, which = np.unique(column.lengths, return_inverse=True)
    places = pa.Array.from_buffers(pa.int64(), len(which), [None, pa.py_buffer(which)])  # pa.array loads pandas
    return BytesColumn.of([text % length for length in lengths.tolist()]).arrow.take(places)


def _newest(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, row in zip(keys, rows, strict=True):
        new, old = row[ORDER_START:ORDER_END], found.get(key, b"")[ORDER_START:ORDER_END]
        if new > old or (replace_equal and new == old):
            found[key] = row
    return found
