"""For people who come from Feast: their definitions, their stores' interfaces, their HTTP API and their data.

``import_repository`` makes definitions of ours from theirs. ``FeatureStoreOnlineStore``, ``FeatureStoreOfflineStore`` and
``FeatureStoreComputeEngine`` are ours behind Feast's own interfaces; naming one loads Feast, nothing else here does.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

_HOME: Final = {
    "FeatureStoreOnlineStore": "online_store",
    "FeatureStoreOnlineStoreConfig": "online_store",
    "FeatureStoreOfflineStore": "offline_store",
    "FeatureStoreOfflineStoreConfig": "offline_store",
    "FeatureStoreComputeEngine": "compute_engine",
    "FeatureStoreComputeEngineConfig": "compute_engine",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.stores.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
