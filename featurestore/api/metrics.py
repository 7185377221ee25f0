"""What the service counts, in Prometheus' text form.

With several workers each process writes its own files in ``PROMETHEUS_MULTIPROC_DIR`` (set by
:func:`featurestore.api.server.serve` before any worker starts) and whichever worker answers ``/metrics`` adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from featurestore.ingestion.report import IngestReport

MULTIPROCESS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_ENTITIES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Metrics:
    """The instruments of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "featurestore_http_requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "featurestore_http_request_seconds",
            "From the first byte asked for to the last byte answered.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "featurestore_http_requests_in_progress",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.features = Counter(
            "featurestore_online_features", "Feature values answered, by status.", ["status"], registry=self.registry
        )
        self.entities = Histogram(
            "featurestore_online_entities", "Entities per online request.", buckets=_ENTITIES, registry=self.registry
        )
        self.rows = Counter(
            "featurestore_rows_written",
            "Rows by source and what became of them.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self._children: dict[Any, Any] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            # Label look-ups cost more than the increments; the routes and statuses are few.
            children = (self.requests.labels(method, route, str(status)), self.seconds.labels(method, route))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def count_features(self, statuses: Mapping[str, int], entities: int) -> None:
        """Record the values of one online answer."""
        for status, count in statuses.items():
            child = self._children.get(status)
            if child is None:
                child = self._children[status] = self.features.labels(status)
            child.inc(count)
        self.entities.observe(entities)

    def count_ingest(self, report: IngestReport) -> None:
        """Record what became of the rows of one ingestion or push."""
        outcomes = {"landed": report.landed, "quarantined": report.quarantined, "duplicate": report.duplicates}
        for outcome, rows in outcomes.items():
            self.rows.labels(report.source, outcome).inc(rows)

    def render(self) -> bytes:
        """All metrics of all workers, in the text form 0.0.4."""
        if not os.environ.get(MULTIPROCESS_FOLDER):
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class RequestMetrics:
    """ASGI middleware that counts and times every request by its route's pattern."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        started = perf_counter()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.in_progress.inc()
        try:
            await self.app(scope, receive, observe)
        finally:
            self.metrics.in_progress.dec()
            route = getattr(scope.get("route"), "path", "unmatched")
            self.metrics.count_request(scope["method"], route, status, perf_counter() - started)
