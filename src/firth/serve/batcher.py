"""Many callers, one model: texts that wait at the same time are encoded together.

One thread owns the model. While it encodes a batch, requests gather; the next batch takes a piece of each, so a single
query waits for one batch at most, however large the other requests are. Nothing is delayed to let a batch grow.
`Served` is an `Encoder` itself, so a collection that embeds its texts goes the same way.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Encoder, Ids, Vectors, unit
from firth.errors import FirthError, SettingsError
from firth.serve.wire import Refused

PIECE = 64  # texts that one request puts into a batch while others wait
BATCH = 256  # texts of one batch; the model cuts it further by its tokens
STOPPED = "the server is stopping"


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of n texts.

    Attributes:
        vectors: (n, d) float32 unit rows.
        tokens: (n,) int64 tokens that the model read of each.
        cut: (n,) bool, whose end was not read.
    """

    vectors: Vectors
    tokens: Ids
    cut: NDArray[np.bool_]


@dataclass(slots=True)
class _Job:
    texts: Sequence[str]
    kind: str | None
    made: Made
    came: float
    future: Future[Made] = field(default_factory=Future)
    taken: int = 0
    left: int = 0


class Served:
    """A model that many threads may ask at once.

    Args:
        encoder: any `Encoder`; only this object's thread touches it from now on.
        name: by which clients ask for it.
        queue: texts that may wait; more are refused with 429.
        told: called after each batch with texts, tokens, texts cut, and seconds that its oldest text waited and that
            encoding took.
    """

    def __init__(
        self,
        encoder: Encoder,
        name: str,
        *,
        queue: int = 16_384,
        told: Callable[[int, int, int, float, float], None] | None = None,
    ) -> None:
        self.encoder = encoder
        self.name = name
        self.dims = encoder.dims
        self.fingerprint = encoder.fingerprint
        self.told = told
        self._queue = queue
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._condition = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="firth-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Texts that have not begun."""
        return self._waiting

    @property
    def max_tokens(self) -> int | None:
        """Tokens of the longest text that is read whole; None = any length (word vectors)."""
        return getattr(self.encoder, "max_tokens", None)

    @property
    def prompts(self) -> dict[str, str]:
        """Text put before every text of a kind."""
        return dict(getattr(self.encoder, "prompts", {}))

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Widths that the model was trained for; others work, at some loss."""
        return tuple(getattr(self.encoder, "trained_dims", (self.dims,)))

    def submit(self, texts: Sequence[str], kind: str | None = None) -> Future[Made]:
        """Encode the texts as soon as it is their turn.

        Raises:
            Refused: 429, too many texts wait already; 503, the server stops.
        """
        n = len(texts)
        made = Made(np.empty((n, self.dims), np.float32), np.zeros(n, np.int64), np.zeros(n, np.bool_))
        job = _Job(texts, kind, made, time.perf_counter(), left=n)
        if n == 0:
            job.future.set_result(made)
            return job.future
        with self._condition:
            if self._stopped:
                raise Refused(503, STOPPED)
            if self._waiting and self._waiting + n > self._queue:
                raise Refused(429, f"{self._waiting:,} texts wait for the model already; try again", after=1.0)
            self._waiting += n
            self._jobs.append(job)
            self._condition.notify()
        return job.future

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """As any `Encoder`; waits for its turn."""
        if progress:
            raise SettingsError("encode: a served model shows no progress")
        return narrowed(self.submit(texts, kind).result().vectors, dims or self.dims)

    def tokens(self, texts: Sequence[str], kind: str | None = None) -> Ids:
        """(n,) tokens of each text with its prompt and special tokens, nothing cut; zeros where nobody counts."""
        tokenizer: Any = getattr(self.encoder, "tokenizer", None)
        if not hasattr(tokenizer, "prefix"):  # word vectors name theirs, which counts nothing
            coverage = getattr(self.encoder, "coverage", None)
            return np.zeros(len(texts), np.int64) if coverage is None else np.asarray(coverage(texts)[1], np.int64)
        prompt = self.prompts.get(kind or "", "")
        counted = tokenizer.count([prompt + text for text in texts] if prompt else texts)
        special = len(tokenizer.prefix) + len(tokenizer.suffix)
        return np.asarray(np.asarray(counted) + special, np.int64)

    def close(self) -> None:
        """Encode what was accepted, then end; harmless when called twice."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._jobs and not self._stopped:
                    self._condition.wait()
                if not self._jobs:
                    return
                pieces = self._next_batch()
            self._encode(pieces)

    def _next_batch(self) -> list[tuple[_Job, int, int]]:
        """A piece of each job of the first one's kind; jobs with more to do go to the end of the line."""
        kind, size, pieces = self._jobs[0].kind, 0, []
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            if job.future.cancelled():
                self._waiting -= len(job.texts) - job.taken
                continue
            if job.kind != kind or size >= BATCH:
                self._jobs.append(job)
                continue
            begin, end = job.taken, min(job.taken + PIECE, len(job.texts))
            job.taken = end
            pieces.append((job, begin, end))
            size += end - begin
            if end < len(job.texts):
                self._jobs.append(job)
        if len(pieces) == 1:  # nobody else waits: no reason for small pieces
            job, begin, end = pieces[0]
            job.taken = min(begin + BATCH, len(job.texts))
            if job.taken == len(job.texts) and end < len(job.texts):
                self._jobs.remove(job)
            pieces = [(job, begin, job.taken)]
        self._waiting -= sum(end - begin for _, begin, end in pieces)
        return pieces

    def _encode(self, pieces: list[tuple[_Job, int, int]]) -> None:
        begun = time.perf_counter()
        texts = [text for job, begin, end in pieces for text in job.texts[begin:end]]
        if not texts:
            return
        kind = pieces[0][0].kind
        try:
            vectors, tokens, cut = self._made(texts, kind)
        except Exception as error:  # the model's error goes to those who asked for this batch; the next one may be well
            for job, _, _ in pieces:
                if not job.future.done():
                    job.future.set_exception(error)
            self._drop({id(job) for job, _, _ in pieces})
            return
        place = 0
        for job, begin, end in pieces:
            part = slice(place, place + end - begin)
            job.made.vectors[begin:end] = vectors[part]
            job.made.tokens[begin:end] = tokens[part]
            job.made.cut[begin:end] = cut[part]
            place += end - begin
            job.left -= end - begin
            if job.left == 0 and job.future.set_running_or_notify_cancel():
                job.future.set_result(job.made)
        if self.told is not None:
            waited = begun - min(job.came for job, _, _ in pieces)
            self.told(len(texts), int(tokens.sum()), int(cut.sum()), waited, time.perf_counter() - begun)

    def _made(self, texts: list[str], kind: str | None) -> tuple[Vectors, Ids, NDArray[np.bool_]]:
        counted: Any = getattr(self.encoder, "encode_counted", None)
        cut = np.zeros(len(texts), np.bool_)
        if counted is None:
            return self.encoder.encode(texts, kind=kind), self.tokens(texts, kind), cut
        encoded = counted(texts, kind=kind)
        cut[encoded.cut.rows] = True
        return encoded.vectors, encoded.tokens, cut

    def _drop(self, jobs: Iterable[int]) -> None:
        with self._condition:
            for job in [job for job in self._jobs if id(job) in jobs]:
                self._jobs.remove(job)
                self._waiting -= len(job.texts) - job.taken


def narrowed(vectors: Vectors, dims: int) -> Vectors:
    """The first `dims` values of each row, brought back to length one.

    Raises:
        SettingsError: wider than they are.
    """
    width = vectors.shape[1]
    if not 1 <= dims <= width:
        raise SettingsError(f"dims={dims}: this model's vectors have {width}")
    return vectors if dims == width else unit(np.ascontiguousarray(vectors[:, :dims]))


def readable(error: BaseException) -> str:
    """What a caller may be told of an error: ours as it stands, of others only the kind."""
    return str(error) if isinstance(error, FirthError) else type(error).__name__
