"""What writers do in processes of their own; it imports little, so that they start quickly."""

from __future__ import annotations

from featurestore import Entity
from featurestore import types as t
from featurestore.config import Config
from featurestore.errors import ConflictError
from featurestore.registry.catalog import open_catalog
from featurestore.registry.definitions import Definitions
from featurestore.time import SystemClock


def entities(*names: str, description: str = "") -> Definitions:
    return Definitions(entities={n: Entity(n, join_keys={"k": t.Int64}, description=description) for n in names})


def apply_and_count(config: Config, writer: int, rounds: int) -> None:
    """Open the registry (making its tables), apply, and count up, retrying after each conflict."""
    catalog = open_catalog(config, SystemClock())
    for number in range(rounds):
        catalog.apply(entities(f"w{writer}_{number}"), author=f"writer {writer}")
        while True:
            seen = catalog.read_state("counter", "n")
            try:
                catalog.write_state("counter", "n", {"n": (seen or {"n": 0})["n"] + 1}, expected=seen)
            except ConflictError:
                continue
            break
    catalog.close()
