"""A service over the repository that ``featurestore init`` writes, with its data landed and materialized."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore.api.cli.commands.init import write_template
from featurestore.store import FeatureStore
from tests.api.in_process import Client, client_of


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory) -> Path:
    """Definitions applied, nothing landed."""
    folder = tmp_path_factory.mktemp("empty")
    write_template(folder, "bikes")
    with FeatureStore(folder) as store:
        store.apply()
    return folder


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """Everything done that the template's README says."""
    folder = tmp_path_factory.mktemp("bikes")
    write_template(folder, "bikes")
    with FeatureStore(folder) as store:
        store.apply()
        store.ingest("readings", str(folder / "data" / "readings.csv"))
        store.materialize()
    return folder


@pytest.fixture(scope="module")
def client(repository) -> Iterator[Client]:
    with client_of(repository, max_entities=100, max_request_bytes=20_000, max_upload_bytes=50_000) as opened:
        yield opened


@pytest.fixture(scope="module")
def empty_client(empty_repository) -> Iterator[Client]:
    with client_of(empty_repository, max_entities=100, max_request_bytes=20_000, max_upload_bytes=50_000) as opened:
        yield opened
