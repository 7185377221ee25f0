"""The offline store: features as they were at any instant, SQL over the lake, and validation of all that it holds.

:mod:`featurestore.offline.sql` is not imported here: a retrieval needs no DuckDB.
"""

from featurestore.features import ResolvedFeatures, resolve_features
from featurestore.offline.retrieval import HistoricalJob, get_historical_features
from featurestore.offline.validate import validate

__all__ = ["HistoricalJob", "ResolvedFeatures", "get_historical_features", "resolve_features", "validate"]
