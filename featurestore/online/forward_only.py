"""The script by which a server moves packed rows forward, and the batches in which it gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from featurestore.codec import ORDER_START

ROWS_A_CALL: Final = 1_000
BYTES_A_CALL: Final = 1 << 20
"""A script runs alone in the server: a call should take milliseconds."""

# Six unsigned numbers, not one comparison of strings: a server compares strings by its locale.
# KEYS: of the rows. ARGV: the rows, then "1" where rows as new are written too.
SCRIPT: Final = f"""
local unpack_order = function(row) return struct.unpack('>I4I4I4I4I4I4', row, {ORDER_START + 1}) end
local replace_equal = ARGV[#KEYS + 1] == '1'
local function is_later(new, old)
  local a, b, c, d, e, f = unpack_order(new)
  local u, v, w, x, y, z = unpack_order(old)
  if a ~= u then return a > u end
  if b ~= v then return b > v end
  if c ~= w then return c > w end
  if d ~= x then return d > x end
  if e ~= y then return e > y end
  if f ~= z then return f > z end
  return replace_equal
end
local held = redis.call('MGET', unpack(KEYS))
local newest, writes, moved = {{}}, {{}}, 0
for i, key in ipairs(KEYS) do
  local old = newest[key] or held[i]
  if not old or is_later(ARGV[i], old) then newest[key] = ARGV[i] end
end
for key, row in pairs(newest) do
  writes[moved * 2 + 1], writes[moved * 2 + 2] = key, row
  moved = moved + 1
end
if moved > 0 then redis.call('MSET', unpack(writes)) end
return moved
"""
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def script_calls(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> Iterator[list[bytes | str | int]]:
    """``EVALSHA`` commands that write the rows, each of bounded rows and bytes."""
    start = size = 0
    for i, row in enumerate(rows):
        size += len(row)
        if i - start >= ROWS_A_CALL or (size > BYTES_A_CALL and i > start):
            yield _call(keys[start:i], rows[start:i], replace_equal=replace_equal)
            start, size = i, len(row)
    if start < len(rows):
        yield _call(keys[start:], rows[start:], replace_equal=replace_equal)


def _call(keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool) -> list[bytes | str | int]:
    return ["EVALSHA", SHA, len(keys), *keys, *rows, b"1" if replace_equal else b"0"]
