"""The parts of one opened project, as the rooms below the façade see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from featurestore.config import Config
    from featurestore.ingestion.lake import Lake
    from featurestore.online import OnlineStore
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import Definitions
    from featurestore.time import Clock


class Project(Protocol):
    """What :class:`featurestore.store.FeatureStore` is to the functions that it hands work to."""

    config: Config
    clock: Clock

    @property
    def catalog(self) -> Catalog:
        """The registry's database."""

    @property
    def lake(self) -> Lake:
        """The lake's tables."""

    @property
    def online(self) -> OnlineStore:
        """The online store."""

    @property
    def definitions(self) -> Definitions:
        """The applied definitions."""
