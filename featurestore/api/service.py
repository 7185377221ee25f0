"""What the routes of one process share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request  # FastAPI reads this annotation at run time

if TYPE_CHECKING:
    from featurestore.api.jobs import TrainingJobs
    from featurestore.api.metrics import Metrics
    from featurestore.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Service:
    """The store and the instruments of one process."""

    store: FeatureStore
    metrics: Metrics
    jobs: TrainingJobs


def service_of(request: Request) -> Service:
    """The service that a request reached; a FastAPI dependency."""
    service: Service = request.app.state.service
    return service
