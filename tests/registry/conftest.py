"""Catalogs on SQLite and on a real PostgreSQL, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from featurestore.config import Config, RegistryConfig
from featurestore.registry.catalog import Catalog, open_catalog
from tests.servers.postgres import PostgresServer, postgres_server


class Ticking:
    """A clock that goes on by one second each time it is read."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A project whose registry is empty."""
    config = Config("flights", tmp_path)
    if request.param == "sqlite":
        return config
    server: PostgresServer = request.getfixturevalue("postgres")
    return replace(config, registry=RegistryConfig(server.create_database()))


@pytest.fixture
def opened(config: Config) -> Iterator[Callable[..., Catalog]]:
    """Opens catalogs and closes them after the test."""
    with ExitStack() as stack:

        def open_(changed: Config = config) -> Catalog:
            catalog = open_catalog(changed, Ticking())
            stack.callback(catalog.close)
            return catalog

        yield open_


@pytest.fixture
def catalog(opened: Callable[..., Catalog]) -> Catalog:
    return opened()
