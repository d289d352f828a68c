"""GloVe: word vectors whose inner products tell how often words stand together.

    w_i · c_j + b_i + b_j  ->  log X_ij,   each cell weighted by f(X) = min(1, (X / x_max)^alpha),   AdaGrad

so that differences of vectors encode ratios of counts. The word's and the context's vector are summed at the end.
Source: Pennington, Socher and Manning 2014. Where we differ: an epoch draws the order of bands of columns and of rows
instead of that of cells, which needs no shuffled file; a symmetric cell is seen from both sides while it is cached.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import SettingsError, TrainingError
from firth.files import read_arrays, write_arrays
from firth.kernels import default_threads
from firth.kernels import glove as kernel
from firth.kernels.word2vec import aligned
from firth.progress import Progress, silent
from firth.static.cooccurrence import Cooccurrences, cooccurrences
from firth.static.corpus import Corpus, Counting, Source, count
from firth.static.vectors import WordVectors

BANDS = 16  # that an epoch deals the columns into; fewer diverge, more leave each row too few cells at a time
KIND, VERSION = "glove", 1


@dataclass(frozen=True)
class GloVe:
    """Settings of GloVe, and its training. docs/parameters-words.md tells what each costs.

    Attributes:
        dims: width of the vectors.
        window: words to each side that are company, weighted by 1 / distance.
        symmetric: False counts only the words to the left.
        x_max: counts from here on have full weight.
        alpha: below it a count's weight is (count / x_max) to this power.
        epochs: passes over all cells.
        rate: AdaGrad's first step.
        min_count, max_words, tokenizer: how the corpus is read; see `Counting`.
        memory: bytes that counting may use before the disk is used.
        threads: None = every core. One thread always repeats; several write to the same rows without locks.
        seed: of every draw.
    """

    dims: int = 100
    window: int = 10
    symmetric: bool = True
    x_max: float = 10.0
    alpha: float = 0.75
    epochs: int = 15
    rate: float = 0.05
    min_count: int = 5
    max_words: int = 0
    tokenizer: str = "spaces"
    memory: int = 2 << 30
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dims", "window", "epochs", "min_count"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.x_max > 0 and 0 <= self.alpha <= 1 and self.rate > 0 and self.memory >= 0 and self.seed >= 0):
            raise SettingsError(
                "expected x_max > 0, 0 <= alpha <= 1, rate > 0, memory and seed >= 0; got "
                f"x_max={self.x_max}, alpha={self.alpha}, rate={self.rate}, memory={self.memory}, seed={self.seed}"
            )

    def train(
        self, source: Source | Corpus, *, state: Path | str | None = None, progress: Progress = silent
    ) -> WordVectors:
        """Learn word vectors from a corpus.

        Args:
            source: text files, token lists (see `corpus.count`), or a corpus that was counted already.
            state: a file that keeps the training after each epoch; where it is there already, training goes on.
            progress: told cells done and in all, with the mean loss.

        Returns:
            WordVectors; `about["losses"]` holds the mean of f(X) · difference² / 2 of each epoch, over all cells.

        Raises:
            SettingsError: `state` belongs to another corpus or other settings.
            TrainingError: no word is left for the vocabulary, no two words stand together, or the vectors grew beyond
                all bounds.
        """
        if not isinstance(source, Corpus):
            counting = Counting(min_count=self.min_count, max_words=self.max_words, tokenizer=self.tokenizer)
            source = count(source, counting, threads=self.threads, progress=progress)
        return self.fit(source, state=state, progress=progress).vectors(source)

    def fit(self, corpus: Corpus, *, state: Path | str | None = None, progress: Progress = silent) -> GloVeState:
        """The same, giving all parameters: both vectors and biases of each word."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("threads", "memory")}
        if state is not None and Path(state).exists():
            training = GloVeState.resume(state, settings, corpus)
        else:
            rows = kernel.parameters(len(corpus.vocabulary), self.dims, np.random.default_rng(self.seed))
            training = GloVeState(rows, 0, [], settings, corpus.checksum)
        if training.epoch == self.epochs:
            return training
        cells = cooccurrences(
            corpus,
            window=self.window,
            symmetric=self.symmetric,
            memory=self.memory,
            threads=self.threads or default_threads(),
            progress=progress,
        )
        if len(cells) == 0:
            raise TrainingError("no two words stand together in any sentence: nothing can be learnt from this corpus")
        kernel.sort_into_bands(
            (cells.starts, cells.columns, cells.values), BANDS, threads=self.threads or default_threads()
        )
        for epoch in range(training.epoch, self.epochs):
            training = self._epoch(training, cells, epoch, progress)
            if state is not None:
                training.save(state)
        return training

    def _epoch(self, training: GloVeState, cells: Cooccurrences, epoch: int, progress: Progress) -> GloVeState:
        rng = np.random.default_rng([self.seed, epoch])
        total, loss, seen = len(cells), 0.0, 0
        for band in rng.permutation(BANDS).tolist():
            more_loss, more = kernel.train(
                training.rows,
                self.dims,
                (cells.starts, cells.columns, cells.values),
                rng.permutation(len(training.rows)).astype(np.int32),
                rate=self.rate,
                alpha=self.alpha,
                x_max=self.x_max,
                symmetric=self.symmetric,
                bands=BANDS,
                band=band,
                threads=self.threads or default_threads(),
            )
            loss, seen = loss + more_loss, seen + more
            if not np.isfinite(loss):
                raise TrainingError(f"epoch {epoch + 1}: the loss is {loss}; try a rate below {self.rate}")
            progress(epoch * total + seen, self.epochs * total, f"epoch {epoch + 1} loss {loss / max(seen, 1):.4f}")
        return replace(training, epoch=epoch + 1, losses=[*training.losses, loss / max(seen, 1)])


@dataclass(frozen=True)
class GloVeState:
    """A training after a whole number of epochs.

    Attributes:
        rows: (v, 4 · pitch) all parameters of each word; native/glove.hpp tells where what lies.
        epoch: passes done; losses: the mean loss of each.
        settings, corpus: of the training that this is the state of; corpus is the checksum of its ids.
    """

    rows: Vectors
    epoch: int
    losses: list[float]
    settings: dict[str, Any] = field(default_factory=dict)
    corpus: int = 0

    @property
    def word(self) -> Vectors:
        """(v, d) word vectors."""
        return self.rows[:, : self._dims]

    @property
    def context(self) -> Vectors:
        """(v, d) context vectors."""
        return self.rows[:, self._pitch : self._pitch + self._dims]

    @property
    def biases(self) -> tuple[Vectors, Vectors]:
        """(v,) of the words and (v,) of the contexts."""
        return self.rows[:, self._dims], self.rows[:, self._pitch + self._dims + 1]

    def vectors(self, corpus: Corpus) -> WordVectors:
        """The sum of both vectors of each word."""
        about = {"settings": self.settings, "losses": self.losses, "tokenizer": corpus.tokenizer}
        return WordVectors(corpus.vocabulary.words, self.word + self.context, corpus.vocabulary.counts, about=about)

    def save(self, path: Path | str) -> None:
        """Write the state, whole or not at all."""
        meta = {"epoch": self.epoch, "losses": self.losses, "settings": self.settings, "corpus": self.corpus}
        write_arrays(path, kind=KIND, version=VERSION, meta=meta, arrays={"rows": self.rows})

    @classmethod
    def resume(cls, path: Path | str, settings: dict[str, Any], corpus: Corpus) -> GloVeState:
        """The state in `path`, if it belongs to these settings and this corpus.

        Raises:
            SettingsError: it belongs to others; names the first difference.
        """
        held = read_arrays(path, kind=KIND, version=VERSION)
        for name, value in settings.items():
            if held.meta["settings"].get(name) != value:
                was = held.meta["settings"].get(name)
                raise SettingsError(
                    f"{path} was trained with {name}={was!r}, not {value!r}: remove it or name another state file"
                )
        if held.meta["corpus"] != corpus.checksum:
            raise SettingsError(f"{path} was trained on another corpus: remove it or name another state file")
        rows = aligned(*held.arrays["rows"].shape)
        rows[:] = held.arrays["rows"]
        return cls(rows, held.meta["epoch"], held.meta["losses"], held.meta["settings"], held.meta["corpus"])

    @property
    def _dims(self) -> int:
        return int(self.settings["dims"])

    @property
    def _pitch(self) -> int:
        return int(self.rows.shape[1]) // 4
