"""An empty project on a real online store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore.config import Config, OnlineConfig
from featurestore.online import delete_prefix
from tests.online.projects import SmallProject
from tests.servers.valkey import valkey_server


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server.unix_url


@pytest.fixture
def small(tmp_path: Path, store_url: str) -> Iterator[SmallProject]:
    opened = SmallProject(Config("test", tmp_path, online=OnlineConfig(url=store_url)))
    delete_prefix(opened.online, b"")
    yield opened
    opened.close()
