"""How many bytes each key of a view of windows takes online: what ``plan`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

_PAYS: Final = 4


@dataclass(frozen=True, slots=True)
class KeySizes:
    """Bytes of one key's block: half of the keys take at most ``median``, 99 of 100 at most ``p99``."""

    median: int
    p99: int
    largest: int


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """What the keys of one view take online, by what the lake holds now.

    Args:
        skipped: why nothing is known of it; empty where something is.
        largest_key: the key with the largest block.
        limit: the view's ``max_block_bytes``.
        beyond: how many keys are larger than that; ``on_overflow``: what becomes of them.
        sawtooth: about what they would take, were its sliding windows sawtooth ones; None where it has no sliding ones.
    """

    view: str
    skipped: str = ""
    keys: int = 0
    sizes: KeySizes = KeySizes(0, 0, 0)
    largest_key: str = ""
    limit: int = 0
    beyond: int = 0
    on_overflow: str = "error"
    sawtooth: KeySizes | None = None

    @property
    def recommends_sawtooth(self) -> bool:
        """Whether sawtooth windows pay: a quarter of the bytes at the 99th percentile, or a key that is too large as it is."""
        if self.sawtooth is None:
            return False
        saves = self.sawtooth.p99 * _PAYS <= self.sizes.p99
        return saves or (self.beyond > 0 and self.sawtooth.largest < self.sizes.largest)

    def to_dict(self) -> dict[str, Any]:
        """The sizes as JSON data."""
        if self.skipped:
            return {"view": self.view, "skipped": self.skipped}
        return {
            "view": self.view,
            "keys": self.keys,
            **asdict(self.sizes),
            "largest_key": self.largest_key,
            "max_block_bytes": self.limit,
            "keys_beyond": self.beyond,
            "on_overflow": self.on_overflow,
            "sawtooth": None if self.sawtooth is None else asdict(self.sawtooth),
            "recommends_sawtooth": self.recommends_sawtooth,
        }

    def lines(self) -> Iterator[str]:
        """The sizes in words."""
        if self.skipped:
            yield f"{self.view}: not known, {self.skipped}"
            return
        yield f"{self.view}: {self.keys:,} keys; {_words(self.sizes)} ({self.largest_key})"
        if self.beyond:
            fate = "served with sawtooth windows, and marked" if self.on_overflow == "sawtooth" else "materialize refuses them"
            yield f"  {self.beyond:,} beyond max_block_bytes={self.limit:,}: {fate}"
        if self.sawtooth is not None:
            told = "recommended: sawtooth" if self.recommends_sawtooth else "sawtooth"
            yield f"  {told} windows would take about: {_words(self.sawtooth)}"


def _words(sizes: KeySizes) -> str:
    return f"median {sizes.median:,}, p99 {sizes.p99:,}, largest {sizes.largest:,}"
