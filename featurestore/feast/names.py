"""Names of Feast as names of ours: identifiers, each used once among its kind."""

from __future__ import annotations

import keyword
import re
from collections import defaultdict
from pathlib import PurePosixPath


class Names:
    """Gives every name of Feast its own here, the same again when asked again."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: defaultdict[str, set[str]] = defaultdict(set)

    def of(self, kind: str, name: str) -> str:
        """The name of an object here.

        >>> names = Names()
        >>> names.of("source", "data/driver-stats.parquet"), names.of("source", "driver stats"), names.of("view", "2nd")
        ('driver_stats', 'driver_stats_2', 'view_2nd')
        """
        key = (kind, name)
        if key not in self._given:
            wanted = identifier(kind, name)
            free, number = wanted, 2
            while free in self._taken[kind]:
                free, number = f"{wanted}_{number}", number + 1
            self._taken[kind].add(free)
            self._given[key] = free
        return self._given[key]


def identifier(kind: str, name: str) -> str:
    """A name that can be used, as near as possible to another."""
    path = PurePosixPath(name)
    plain = path.stem if "/" in name or path.suffix in (".parquet", ".csv", ".delta") else name
    made = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")
    if not made or made[0].isdigit():
        made = f"{kind.replace(' ', '_')}_{made}".rstrip("_")
    return f"{made}_" if keyword.iskeyword(made) else made
