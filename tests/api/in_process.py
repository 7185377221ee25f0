"""An app called in process, as httpx would call a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx

from featurestore.api.app import create_app
from featurestore.config import load_config
from featurestore.store import FeatureStore


class Client:
    """Synchronous calls into an app that runs on an event loop of its own."""

    def __init__(self, portal: Any, http: httpx.AsyncClient, store: FeatureStore) -> None:
        self._portal, self._http, self.store = portal, http, store

    def request(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._portal.call(lambda: self._http.request(method, path, **request))

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self.request("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self.request("POST", path, **request)


@contextmanager
def client_of(folder: Path, **server: object) -> Iterator[Client]:
    """A client of an app over a project; ``server`` changes settings of that section."""
    config = load_config(folder)
    store = FeatureStore(config=replace(config, server=replace(config.server, **server)))
    app = create_app(store)
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = httpx.AsyncClient(transport=transport, base_url="http://service")
        with portal.wrap_async_context_manager(http):
            yield Client(portal, http, store)
