"""word2vec: words that stand in the same company get near vectors.

Skip-gram learns to tell a centre word from each word of its window, CBOW from their mean; against a few drawn noise
words (negative sampling), by the turns of its way down a Huffman tree (hierarchical softmax), or against the whole
vocabulary (the exact softmax that the other two approximate; for small vocabularies).

Sources: Mikolov et al. 2013, arXiv:1301.3781 and arXiv:1310.4546; Levy, Goldberg and Dagan 2015 for the defaults.
Where we differ: a few consecutive centres share their noise words, each counted with weight negatives / noise, which
makes dense products of scattered ones (Ji et al. 2016, arXiv:1604.04661) and keeps the expected gradient.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth.errors import SettingsError, TrainingError
from firth.kernels import default_threads
from firth.kernels import word2vec as kernel
from firth.progress import Progress, silent
from firth.static.corpus import Corpus, Counting, Source, count
from firth.static.state import State, begin, extended
from firth.static.vectors import WordVectors

RATES = {"skipgram": 0.025, "cbow": 0.05}  # as word2vec's program; with 0.025 CBOW's analogies fall from 28 % to 25 %
SHARED = {"skipgram": (8, 16), "cbow": (4, 8)}  # centres and noise words; the trials are in native/sgns.hpp
LONGEST_SPAN = 2048  # ids that a thread takes at a time: about a millisecond
ROUND = 4  # pieces that deterministic training works on at once: native/sgns.cpp
# Steps that do not see each other together move a row by about rate · pairs · |other row|² / 4, and diverge where that
# passes 2. So much rate · pairs is allowed to one row: in a tile through a shared noise word, through an input, through
# the most frequent word; and through the most frequent word in a round of deterministic training. On a vocabulary of 58
# words rounds diverge at 1.6; with windows of 20 words, on 24,000 words, tiles at 5.
MOST_NOISE, MOST_USES, MOST_WORD, MOST_ROUND = 1.5, 2.0, 0.5, 0.8
MOST_INPUTS = 256  # rows of a tile: 100 KB at 100 dimensions, a tenth of a second-level cache
IDS_A_PART = 1_000_000  # how much is trained between two reports of progress


@dataclass(frozen=True)
class Word2Vec:
    """Settings of word2vec, and its training. docs/parameters-words.md tells what each costs.

    Attributes:
        dims: width of the vectors.
        window: most words to each side that are company.
        architecture: "skipgram" or "cbow".
        objective: "negative", "hierarchical" or "softmax".
        negatives: noise words for each pair.
        noise_exponent: noise words are drawn by count to this power; 0.75 is word2vec's.
        subsample: words more frequent than this share of the corpus are left out at random; 0 = none.
        min_count, max_words, tokenizer: how the corpus is read; see `Counting`.
        epochs: passes over the corpus.
        rate, last_rate: of learning, at the first and the last word, linear between; rate 0 = 0.025, with CBOW 0.05.
        shrink: draw each window's width from 1 … window, so that near words count more.
        mean: CBOW predicts from the mean of the window; False = from the sum.
        threads: None = every core.
        deterministic: the same bits for any number of threads, at about 0.6 of the speed; one thread always repeats.
        seed: of every draw.
        centres, noise: consecutive centres that share noise words, and how many they share; 0 = 8 and 16, with CBOW 4
            and 8.
    """

    dims: int = 100
    window: int = 5
    architecture: str = "skipgram"
    objective: str = "negative"
    negatives: int = 5
    noise_exponent: float = 0.75
    subsample: float = 1e-3
    min_count: int = 5
    max_words: int = 0
    tokenizer: str = "spaces"
    epochs: int = 5
    rate: float = 0.0
    last_rate: float = 1e-4
    shrink: bool = True
    mean: bool = True
    threads: int | None = None
    deterministic: bool = False
    seed: int = 0
    centres: int = 0
    noise: int = 0

    def __post_init__(self) -> None:
        _one_of("architecture", self.architecture, ("skipgram", "cbow"))
        _one_of("objective", self.objective, ("negative", "hierarchical", "softmax"))
        for name in ("dims", "window", "negatives", "min_count", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.last_rate <= self.first_rate or min(self.subsample, self.seed, self.centres, self.noise) < 0:
            raise SettingsError(
                f"expected 0 <= last_rate <= rate and subsample, seed, centres, noise >= 0; got "
                f"last_rate={self.last_rate}, rate={self.first_rate}, subsample={self.subsample}, seed={self.seed}, "
                f"centres={self.centres}, noise={self.noise}"
            )

    def train(
        self,
        source: Source | Corpus,
        *,
        state: Path | str | None = None,
        start: State | None = None,
        progress: Progress = silent,
    ) -> WordVectors:
        """Learn word vectors from a corpus.

        Args:
            source: text files, token lists (see `corpus.count`), or a corpus that was counted already.
            state: a file that keeps the training after each epoch. Where it is there already, training goes on behind
                its last epoch, to the same vectors as without the interruption (with one thread, or deterministic).
            start: a warm restart: begin with the rows of an earlier training (`State.load`). Words that are new in this
                corpus are added behind the known ones, and all epochs are trained on it.
            progress: told ids done and in all, with the mean loss.

        Returns:
            WordVectors; `about["losses"]` holds the true mean loss of each epoch, in nats a pair.

        Raises:
            SettingsError: `state` belongs to another corpus or other settings, or `start` to other dimensions.
            TrainingError: no word is left for the vocabulary, or the vectors grew beyond all bounds.
        """
        if isinstance(source, Corpus):
            corpus = source
        else:
            counting = Counting(min_count=self.min_count, max_words=self.max_words, tokenizer=self.tokenizer)
            known = start.vocabulary.words if start else ()
            corpus = count(source, counting, known=known, threads=self.threads, progress=progress)
        settings = {name: value for name, value in asdict(self).items() if name != "threads"}
        training = State.resume(state, settings, corpus) if state is not None and Path(state).exists() else None
        if training is None:
            rng = np.random.default_rng(self.seed)
            training = extended(start, corpus, self, rng) if start else begin(corpus, self, rng)
            training = replace(training, settings=settings, corpus=corpus.checksum)
        for epoch in range(training.epoch, self.epochs):
            training = self._epoch(training, corpus, epoch, progress)
            if state is not None:
                training.save(state)
        about = {"settings": settings, "losses": training.losses, "tokenizer": corpus.tokenizer}
        vocabulary, rows = training.vocabulary, training.input
        del training  # and with it the output rows, before the inputs are copied
        vectors = np.ascontiguousarray(rows[:, : self.dims])
        return WordVectors(vocabulary.words, vectors, vocabulary.counts, about=about)

    def _epoch(self, training: State, corpus: Corpus, epoch: int, progress: Progress) -> State:
        keep, busiest, kept = _subsampling(training.vocabulary.counts, self.subsample)
        native = kernel.trainer(
            training.input,
            training.output,
            keep=keep,
            noise=kernel.alias_table(training.vocabulary.counts.astype(np.float64) ** self.noise_exponent),
            paths=training.paths,
            settings={
                "skipgram": self.architecture == "skipgram",
                "hierarchical": self.objective == "hierarchical",
                "softmax": self.objective == "softmax",
                "centres": self._centres(busiest),
                "inputs": int(
                    np.clip(MOST_NOISE / self.first_rate * min(1, self.shared[1] / self.negatives), 1, MOST_INPUTS)
                ),
                "span": self._span(busiest, kept),
                "noise": self.shared[1],
                "rate": self.first_rate,
                **{name: getattr(self, name) for name in _PASSED_ON},
            },
        )
        n, loss, pairs = len(corpus.ids), 0.0, 0
        parts = max(1, n // IDS_A_PART)
        for part in range(parts):
            more_loss, more_pairs = native.train(corpus.ids, epoch, part, parts, self.threads or default_threads())
            loss, pairs = loss + more_loss, pairs + more_pairs
            mean = loss / max(pairs, 1)
            if not np.isfinite(mean):
                raise TrainingError(f"epoch {epoch + 1}: the loss is {mean}; try a rate below {self.first_rate}")
            progress(epoch * n + n * (part + 1) // parts, self.epochs * n, f"epoch {epoch + 1} loss {mean:.4f}")
        return replace(training, epoch=epoch + 1, losses=[*training.losses, loss / max(pairs, 1)])

    @property
    def first_rate(self) -> float:
        """The learning rate that training begins with."""
        return self.rate or RATES[self.architecture]

    @property
    def shared(self) -> tuple[int, int]:
        """Most centres of a tile, and the noise words that they share."""
        centres, noise = SHARED[self.architecture]
        return self.centres or centres, self.noise or noise

    @property
    def _pairs(self) -> float:
        """Mean pairs of a centre."""
        return 1.0 if self.architecture == "cbow" else self.window + 1.0 if self.shrink else self.window * 2.0

    def _centres(self, busiest: float) -> int:
        """Centres a tile: as many as asked for, fewer where one row would be moved too far at once."""
        if self.objective == "hierarchical":
            return 1  # paths have little in common
        others = MOST_NOISE / self._pairs / (self.negatives / self.shared[1] if self.objective == "negative" else 1)
        limits = (others, MOST_USES / (1 + self.negatives), MOST_WORD / (self._pairs * busiest))
        return int(np.clip(min(limits) / self.first_rate, 1, self.shared[0]))

    def _span(self, busiest: float, kept: float) -> int:
        """Ids a piece: a round of pieces that do not see each other must be short where a word is frequent."""
        if not self.deterministic:
            return LONGEST_SPAN
        return int(np.clip(MOST_ROUND / (self.first_rate * self._pairs * busiest * kept * ROUND), 8, LONGEST_SPAN))


_PASSED_ON = ("mean", "shrink", "deterministic", "window", "negatives", "epochs", "last_rate", "seed")


def _subsampling(counts: NDArray[np.int64], subsample: float) -> tuple[NDArray[np.uint32], float, float]:
    """Which words are kept: word2vec's chance of sqrt(t / f) + t / f.

    Returns:
        (v,) a word is kept if 32 random bits are at most this; the share of the most frequent word in what is kept; and
        the share of the corpus that is kept.
    """
    ratio = subsample * counts.sum() / np.maximum(counts, 1)
    chance = np.minimum(np.sqrt(ratio) + ratio, 1.0) if subsample else np.ones(len(counts))
    kept = chance * counts
    keep = np.asarray(np.floor(chance * kernel.KEEP_ALWAYS), np.uint32)
    return keep, float(kept.max() / kept.sum()), float(kept.sum() / counts.sum())


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} {value!r}: expected one of {', '.join(known)}")
