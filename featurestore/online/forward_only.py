"""The commands by which a server moves packed rows forward, and the batches in which it gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from struct import pack
from typing import Final

from featurestore.codec import ORDER_END, ORDER_START

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


def script_calls(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> Iterator[list[bytes | str | int]]:
    """``EVALSHA`` commands that write the rows, each of bounded rows and bytes; of rows of one key only the newest."""
    if len(set(keys)) < len(keys):
        newest = _newest(keys, rows, replace_equal=replace_equal)
        keys, rows = list(newest), list(newest.values())
    for part in bounded_parts(rows):
        yield _call(keys[part], rows[part], replace_equal=replace_equal)


def bounded_parts(rows: Sequence[bytes]) -> Iterator[slice]:
    """The rows of one call each."""
    if ROWS_A_CALL * max(map(len, rows), default=0) <= BYTES_A_CALL:
        yield from (slice(at, min(at + ROWS_A_CALL, len(rows))) for at in range(0, len(rows), ROWS_A_CALL))
        return
    start = size = 0
    for i, row in enumerate(rows):
        size += len(row)
        if i - start >= ROWS_A_CALL or (size > BYTES_A_CALL and i > start):
            yield slice(start, i)
            start, size = i, len(row)
    if start < len(rows):
        yield slice(start, len(rows))


def first_call(keys: Sequence[bytes], rows: Sequence[bytes]) -> list[bytes | str]:
    """A command that writes rows where the server holds none of their keys, and else nothing; no key twice.

    It asks half as much of the server as the script does.
    """
    return ["MSETNX", *chain.from_iterable(zip(keys, rows, strict=True))]


def _newest(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, row in zip(keys, rows, strict=True):
        new, old = row[ORDER_START:ORDER_END], found.get(key, b"")[ORDER_START:ORDER_END]
        if new > old or (replace_equal and new == old):
            found[key] = row
    return found


def _call(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> list[bytes | str | int]:
    ends = pack(f">{len(rows)}I", *accumulate(map(len, rows)))
    return ["EVALSHA", SHA, len(keys), *keys, b"".join(rows), ends, b"1" if replace_equal else b"0"]
