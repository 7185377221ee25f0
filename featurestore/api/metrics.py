"""What the service counts, in Prometheus' text form.

With several workers each process writes its own files in ``PROMETHEUS_MULTIPROC_DIR`` (set by
:func:`featurestore.api.server.serve` before any worker starts) and whichever worker answers ``/metrics`` adds them up.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from featurestore.ingestion.report import IngestReport

MULTIPROCESS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
FLUSH_SECONDS: Final = 0.1
"""How long counts wait before other workers see them."""
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
        self._waiting = _Waiting()
        self._timer: asyncio.TimerHandle | None = None
        self._open = 0

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one answered request; in the event loop."""
        self._waiting.requests[method, route, status].append(seconds)
        if self._timer is None:
            self._start_timer()

    def count_features(self, statuses: Mapping[str, int], entities: int) -> None:
        """Record the values of one online answer; in the event loop."""
        waiting = self._waiting
        for status, count in statuses.items():
            waiting.features[status] += count
        waiting.entities.append(entities)
        if self._timer is None:
            self._start_timer()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While a request is being answered."""
        self._open += 1
        if self._timer is None:
            self._start_timer()
        try:
            yield
        finally:
            self._open -= 1

    def _start_timer(self) -> None:
        with suppress(RuntimeError):  # outside an event loop the caller flushes
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand over what was counted since the last time; in the event loop.

        Prometheus' instruments lock and, among several workers, write to a file with each step: seven of them a request
        cost more than reading its features does.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, _Waiting()
        for (method, route, status), seconds in waiting.requests.items():
            self.requests.labels(method, route, str(status)).inc(len(seconds))
            _observe_all(self.seconds.labels(method, route), _SECONDS, seconds)
        for name, count in waiting.features.items():
            self.features.labels(name).inc(count)
        if waiting.entities:
            _observe_all(self.entities, _ENTITIES, waiting.entities)
        self.in_progress.set(self._open)

    def count_ingest(self, report: IngestReport) -> None:
        """Record what became of the rows of one ingestion or push."""
        outcomes = {"landed": report.landed, "quarantined": report.quarantined, "duplicate": report.duplicates}
        for outcome, rows in outcomes.items():
            self.rows.labels(report.source, outcome).inc(rows)

    def render(self) -> bytes:
        """All metrics of all workers that were handed over, in the text form 0.0.4."""
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

        with self.metrics.answering():
            try:
                await self.app(scope, receive, observe)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                self.metrics.count_request(scope["method"], route, status, perf_counter() - started)


@dataclass(slots=True)
class _Waiting:
    """What was counted, and not handed over yet.

    Args:
        requests: the seconds that each took, by method, route and status.
    """

    requests: defaultdict[tuple[str, str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    features: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    entities: list[float] = field(default_factory=list)


def _observe_all(histogram: Histogram, bounds: Sequence[float], values: Sequence[float]) -> None:
    """Observe many values at once: one step a bucket, where ``observe`` takes two a value."""
    counts = Tally(bisect_left(bounds, value) for value in values)
    for bucket, count in counts.items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))
