"""The online store: the newest features of each entity, in one round trip.

``keys`` names the rows, ``store`` says what a store must do, ``redis_store`` and ``redis_cluster`` do it, ``plan`` turns a
request into keys, ``lookup`` reads and ``response`` answers.
"""

from featurestore.online.store import OnlineStore, delete_prefix, open_online_store

__all__ = ["OnlineStore", "delete_prefix", "open_online_store"]
