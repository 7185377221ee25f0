"""The same tests over a local folder and a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from featurestore.config import Config, LakeConfig
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.ingestion.object_storage import ObjectStorage, open_storage
from featurestore.time import SystemClock
from tests.servers.s3 import S3Server, s3_server


class MovedClock:
    """The machine's clock, moved: files that were just written look old to it."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> LakeConfig:
    """A ``[lake]`` section of a lake that nobody else uses."""
    if request.param == "folder":
        return LakeConfig(url=str(tmp_path / "lake"))
    running: S3Server = request.getfixturevalue("server")
    return running.settings(f"s3://lake/{uuid4().hex}")


@pytest.fixture
def config(settings: LakeConfig, tmp_path: Path) -> Config:
    return Config("test", tmp_path, lake=settings)


@pytest.fixture
def storage(settings: LakeConfig) -> ObjectStorage:
    return open_storage(settings)


@pytest.fixture
def lake(config: Config) -> Iterator[Lake]:
    opened = open_lake(config, SystemClock())
    yield opened
    opened.close()
