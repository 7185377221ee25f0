"""Training-set jobs: started by a request, done in the background, answered by any worker.

A job's state is a document in the catalog, so that whichever worker is asked knows it. The worker that runs a job renews
``heartbeat``; one whose heartbeat stopped was lost with its process and is reported so.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from featurestore.api.errors import error_body, internal_answer
from featurestore.errors import FeatureStoreError, NotFoundError

if TYPE_CHECKING:
    from featurestore.store import FeatureStore
    from featurestore.training import TrainingSet

KIND: Final = "training_set_job"
HEARTBEAT_SECONDS: Final = 5.0
LOST_AFTER: Final = timedelta(seconds=60)


class TrainingJobs:
    """The jobs of one process, one at a time each, and the view of all of them.

    Args:
        store: where the training sets are written and the jobs recorded.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="training-set")
        self._stopping = threading.Event()
        self._running: dict[str, Future[None]] = {}

    def start(self, name: str, work: Callable[[], TrainingSet]) -> dict[str, Any]:
        """Record a job and queue it.

        Args:
            name: of the training set.
            work: writes it.

        Returns:
            The job's document: ``id``, ``name``, ``state``, and later ``version`` or ``error``.
        """
        document = {"id": uuid.uuid4().hex, "name": name, "state": "queued", "started": self._now(), "heartbeat": self._now()}
        self.store.catalog.write_state(KIND, document["id"], document)
        self._running[document["id"]] = self._pool.submit(self._run, document, work)
        return document

    def get(self, job: str) -> dict[str, Any]:
        """The document of a job.

        Raises:
            NotFoundError: no such job.
        """
        document = self.store.catalog.read_state(KIND, job)
        if document is None:
            raise NotFoundError("training-set job", job, hint="GET /v1/dataset-jobs lists the jobs")
        return self._checked(document)

    def all(self) -> list[dict[str, Any]]:
        """All jobs, newest first."""
        jobs = [self._checked(document) for document in self.store.catalog.list_state(KIND).values()]
        return sorted(jobs, key=lambda job: str(job["started"]), reverse=True)

    def close(self) -> None:
        """Finish the job that runs, and drop what is queued: its document says ``cancelled``."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for job, future in list(self._running.items()):
            if future.cancelled():
                self._write(self.get(job), state="cancelled", finished=self._now())
        self._pool.shutdown(wait=True)

    def _run(self, document: dict[str, Any], work: Callable[[], TrainingSet]) -> None:
        done = threading.Event()
        document = self._write(document, state="running")
        heart = threading.Thread(target=self._beat, args=(document, done), daemon=True)
        heart.start()
        outcome: dict[str, Any]
        try:
            training_set = work()
            outcome = {"state": "succeeded", "version": training_set.version}
        except FeatureStoreError as error:
            outcome = {"state": "failed", **error_body(error)}
        except Exception as error:  # noqa: BLE001 - recorded as the job's end; nobody else would hear of it
            internal_answer(error)
            outcome = {"state": "failed", "error": {"code": "internal_error", "message": str(error), "hint": None}}
        finally:
            done.set()
            heart.join()
            self._running.pop(document["id"], None)
        self._write(document, **outcome, finished=self._now())

    def _beat(self, document: dict[str, Any], done: threading.Event) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            self._write(document)

    def _write(self, document: dict[str, Any], **changes: Any) -> dict[str, Any]:
        document = {**document, "heartbeat": self._now(), **changes}
        self.store.catalog.write_state(KIND, document["id"], document)
        return document

    def _checked(self, document: dict[str, Any]) -> dict[str, Any]:
        alive = document["state"] not in ("queued", "running") or document["id"] in self._running
        if not alive and self.store.clock.now() - datetime.fromisoformat(document["heartbeat"]) > LOST_AFTER:
            return {**document, "state": "lost"}
        return document

    def _now(self) -> str:
        return self.store.clock.now().isoformat()
