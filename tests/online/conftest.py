"""Every online store, each behind its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore.config import Config, OnlineConfig
from featurestore.online import OnlineStore, delete_prefix, open_online_store
from tests.online.projects import SmallProject
from tests.servers.valkey import valkey_cluster, valkey_server

STORES = ("embedded", "tcp", "unix", "cluster")


@pytest.fixture(scope="session")
def store_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with (
        valkey_server(tmp_path_factory.mktemp("valkey")) as server,
        valkey_cluster(tmp_path_factory.mktemp("cluster")) as cluster,
    ):
        yield {"embedded": "embedded", "tcp": server.url, "unix": server.unix_url, "cluster": cluster}


@pytest.fixture(params=STORES)
def online_config(request: pytest.FixtureRequest, store_urls: dict[str, str], tmp_path: Path) -> Config:
    return Config("test", tmp_path, online=OnlineConfig(url=store_urls[request.param]))


@pytest.fixture
def store(online_config: Config) -> Iterator[OnlineStore]:
    """An empty store of each kind."""
    opened = open_online_store(online_config)
    delete_prefix(opened, b"")
    yield opened
    opened.close()


@pytest.fixture
def project(online_config: Config) -> Iterator[SmallProject]:
    """An empty project on each kind of store."""
    opened = SmallProject(online_config)
    delete_prefix(opened.online, b"")
    yield opened
    opened.close()


@pytest.fixture
def small(tmp_path: Path, store_urls: dict[str, str]) -> Iterator[SmallProject]:
    """An empty project on one store, where the kind of store cannot matter."""
    opened = SmallProject(Config("test", tmp_path, online=OnlineConfig(url=store_urls["unix"])))
    delete_prefix(opened.online, b"")
    yield opened
    opened.close()
