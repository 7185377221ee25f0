"""The online store: the newest features of each entity, in one round trip.

``store`` says what a store must do, ``redis_store`` and ``redis_cluster`` do it; ``keys`` names the rows, ``serving`` knows
which version of a view is served, ``plan`` turns a request into keys, ``lookup`` reads and ``response`` answers.
"""

from featurestore.online.lookup import OnlineReader, aget_online_features, get_online_features
from featurestore.online.response import OnlineResponse
from featurestore.online.store import OnlineStore, delete_prefix, open_online_store

__all__ = [
    "OnlineReader",
    "OnlineResponse",
    "OnlineStore",
    "aget_online_features",
    "delete_prefix",
    "get_online_features",
    "open_online_store",
]
