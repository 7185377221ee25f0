"""Our stores as a configuration of Feast's own universal test suite; see ``make feast-suite``.

Named by the variable ``FULL_REPO_CONFIGS_MODULE`` and imported by that suite, whose package ``tests`` is then the one in sight.
"""

from __future__ import annotations

import os
from typing import Any

from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator
from tests.universal.feature_repos.universal.online_store_creator import OnlineStoreCreator

from featurestore.feast import FeatureStoreOfflineStoreConfig


class FeatureStoreDataSourceCreator(FileDataSourceCreator):
    """File sources, read by our offline store."""

    def create_offline_store_config(self) -> Any:
        """The offline store's settings."""
        return FeatureStoreOfflineStoreConfig()


class FeatureStoreOnlineStoreCreator(OnlineStoreCreator):
    """An online store of its own for each project."""

    def create_online_store(self) -> dict[str, Any]:
        """The online store's settings."""
        return {"type": "featurestore.feast.FeatureStoreOnlineStore", "url": os.environ["FEATURESTORE_SUITE_URL"]}

    def teardown(self) -> None:
        """Nothing is left behind: the server ends with the suite."""


AVAILABLE_OFFLINE_STORES = [("local", FeatureStoreDataSourceCreator)]
_STORE = ({"type": "featurestore.feast.FeatureStoreOnlineStore"}, FeatureStoreOnlineStoreCreator)
# Under the names of stores that some tests are kept to: those tests run too.
AVAILABLE_ONLINE_STORES = {"redis": _STORE, "sqlite": _STORE, "mongodb": _STORE, "postgres": _STORE}
