"""Catalogs on SQLite and on a real PostgreSQL, and a clock that tests move."""

from __future__ import annotations

import uuid
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


def _config(request: pytest.FixtureRequest, folder: Path, *, fresh: bool) -> Config:
    config = Config(f"flights_{uuid.uuid4().hex[:8]}", folder)
    if request.param == "sqlite":
        return config
    server: PostgresServer = request.getfixturevalue("postgres")
    return replace(config, registry=RegistryConfig(server.create_database() if fresh else server.url))


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A project that has applied nothing yet; on PostgreSQL, all tests share a database."""
    return _config(request, tmp_path, fresh=False)


@pytest.fixture(params=["sqlite", "postgres"])
def fresh_config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A project whose registry's database has no tables yet."""
    return _config(request, tmp_path, fresh=True)


@pytest.fixture
def open_one() -> Iterator[Callable[[Config], Catalog]]:
    """Opens catalogs and closes them after the test."""
    with ExitStack() as stack:

        def open_(config: Config) -> Catalog:
            catalog = open_catalog(config, Ticking())
            stack.callback(catalog.close)
            return catalog

        yield open_


@pytest.fixture
def opened(config: Config, open_one: Callable[[Config], Catalog]) -> Callable[[], Catalog]:
    """Opens the project's catalog, each time anew."""
    return lambda: open_one(config)


@pytest.fixture
def catalog(opened: Callable[..., Catalog]) -> Catalog:
    return opened()
