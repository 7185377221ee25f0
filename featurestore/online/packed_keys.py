"""Keys as a Redis command takes them: one run of bytes, made without an object a key.

For a hundred entities it takes half as long as a list of keys and its packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MOST_LETTERS: Final = 64


@dataclass(slots=True)
class PackedKeys:
    """Keys, packed.

    Args:
        count: how many.
        arguments: of each ``$LENGTH``, a line's end, the key, a line's end.
    """

    count: int
    arguments: bytes

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> PackedKeys:
        """Of any keys.

        >>> PackedKeys.of([b"a", b"bcd"])
        PackedKeys(count=2, arguments=b'$1\\r\\na\\r\\n$3\\r\\nbcd\\r\\n')
        """
        return cls(len(keys), b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]))


class KeyPacker:
    """Packs keys that differ in the text of an entity only.

    Args:
        prefix, suffix: what stands around an entity and its braces.
    """

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self._tail = b"}%b\r\n" % suffix
        around = len(prefix) + len(suffix) + 2
        self._heads = [b"$%d\r\n%b{" % (around + letters, prefix) for letters in range(_MOST_LETTERS + 1)]

    def pack(self, entities: Sequence[bytes]) -> bytes | None:
        """The arguments of these entities; None where the text of one is longer than that of most.

        >>> KeyPacker(b"view:", b"").pack([b"7", b"12"])
        b'$8\\r\\nview:{7}\\r\\n$9\\r\\nview:{12}\\r\\n'
        """
        heads, tail = self._heads, self._tail
        try:
            return tail.join([heads[len(entity)] + entity for entity in entities]) + tail if entities else b""
        except IndexError:
            return None
