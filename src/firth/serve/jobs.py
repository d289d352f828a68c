"""Long work that a caller starts and asks after: one thread does one job at a time."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from firth.serve.batcher import readable
from firth.serve.wire import Refused

KEPT = 100  # jobs that are remembered
WAITING = 16  # jobs that may wait


@dataclass(slots=True)
class Job:
    """What became of one piece of work; `state` is waiting, running, done or failed."""

    kind: str
    collection: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "waiting"
    result: Any = None
    error: str | None = None
    started: float | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "collection": self.collection,
            "state": self.state,
            "result": self.result,
            "error": self.error,
            "seconds": self.seconds,
        }


class Jobs:
    """The jobs of one server."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "firth-job")

    def start(self, kind: str, collection: str, work: Callable[[], Any]) -> Job:
        """Begin some work, or wait behind what was begun before.

        Raises:
            Refused: 429, too much waits already.
        """
        job = Job(kind, collection)
        with self._lock:
            if sum(other.state == "waiting" for other in self._jobs.values()) >= WAITING:
                raise Refused(429, f"{WAITING} jobs wait already", after=5.0)
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        self._thread.submit(self._run, job, work)
        return job

    def find(self, id_: str) -> Job:
        """One job.

        Raises:
            Refused: 404.
        """
        job = self._jobs.get(id_)
        if job is None:
            raise Refused(404, "no such job; the last hundred are remembered")
        return job

    def all(self) -> list[Job]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Finish the job at hand; those that wait are given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _run(job: Job, work: Callable[[], Any]) -> None:
        job.state, begun = "running", time.perf_counter()
        try:
            job.result = work()
            job.state = "done"
        except Exception as error:  # told to whoever asks after the job
            job.error, job.state = readable(error), "failed"
        job.seconds = round(time.perf_counter() - begun, 3)
