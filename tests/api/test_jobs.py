"""Training-set jobs: their states, whoever asks."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from featurestore.api.cli.commands.init import write_template
from featurestore.api.jobs import KIND, LOST_AFTER, TrainingJobs
from featurestore.errors import NotFoundError, TrainingSetError
from featurestore.store import FeatureStore


class Clock:
    def __init__(self):
        self.time = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self):
        return self.time


@pytest.fixture
def store(tmp_path):
    write_template(tmp_path, "jobs")
    with FeatureStore(tmp_path, clock=Clock()) as opened:
        yield opened


def states(jobs):
    return [job["state"] for job in jobs.all()]


def test_a_job_runs_and_tells_its_version_to_every_worker(store):
    jobs, other = TrainingJobs(store), TrainingJobs(store)
    job = jobs.start("delays", lambda: SimpleNamespace(version=3))
    jobs._pool.shutdown(wait=True)
    assert other.get(job["id"])["state"] == "succeeded"
    assert other.get(job["id"])["version"] == 3


def test_a_failed_job_keeps_its_error(store):
    def fail():
        raise TrainingSetError("no label row", hint="bring some")

    jobs = TrainingJobs(store)
    job = jobs.start("delays", fail)
    jobs.close()
    assert jobs.get(job["id"])["error"] == {"code": "training_set_error", "message": "no label row", "hint": "bring some"}


def test_closing_finishes_what_runs_and_cancels_what_waits(store):
    jobs, started, go = TrainingJobs(store), threading.Event(), threading.Event()

    def work():
        started.set()
        go.wait(10)
        return SimpleNamespace(version=1)

    first, second = jobs.start("first", work), jobs.start("second", work)
    started.wait(10)
    closing = threading.Thread(target=jobs.close)
    closing.start()
    go.set()
    closing.join(10)
    assert jobs.get(first["id"])["state"] == "succeeded"
    assert jobs.get(second["id"])["state"] == "cancelled"


def test_a_job_whose_worker_is_gone_is_lost_after_a_while(store):
    now = store.clock.now().isoformat()
    store.catalog.write_state(KIND, "x", {"id": "x", "name": "delays", "state": "running", "started": now, "heartbeat": now})
    jobs = TrainingJobs(store)
    assert states(jobs) == ["running"]
    store.clock.time += LOST_AFTER + timedelta(seconds=1)
    assert states(jobs) == ["lost"]


def test_an_unknown_job_is_not_found(store):
    with pytest.raises(NotFoundError):
        TrainingJobs(store).get("absent")
