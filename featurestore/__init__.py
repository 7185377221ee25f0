"""A feature store with one contract of time.

What is defined once gives training sets that are correct at every instant, and the same answers online. Importing this
package loads no heavy library; each is loaded by what needs it, when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featurestore import types
from featurestore.errors import FeatureStoreError
from featurestore.registry.aggregations import Aggregation, lifetime, sawtooth, sliding, tumbling
from featurestore.registry.definitions import (
    Entity,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
    feature_view,
    on_demand_feature_view,
)
from featurestore.registry.records import Expectation, Field

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

__version__ = "0.1.0"

__all__ = [
    "Aggregation",
    "Entity",
    "EventSource",
    "Expectation",
    "FeatureReference",
    "FeatureService",
    "FeatureStore",
    "FeatureStoreError",
    "FeatureView",
    "Field",
    "OnDemandFeatureView",
    "RequestSource",
    "feature_view",
    "lifetime",
    "on_demand_feature_view",
    "sawtooth",
    "sliding",
    "tumbling",
    "types",
]


def __getattr__(name: str) -> Any:
    if name == "FeatureStore":
        from featurestore.store import FeatureStore

        return FeatureStore
    raise AttributeError(f"module 'featurestore' has no attribute {name!r}")
