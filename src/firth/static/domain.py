"""An encoder from the domain's own documents in seconds: no download, no torch.

Words are learnt by skip-gram with windows as wide as a passage, so that words of one subject come together and not only
words of one kind; texts are their SIF means. The dimensions are turned so that the leading ones hold most of the texts'
variance, which changes no cosine and makes `encode(texts, dims=...)` a sensible thing to ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from firth.progress import Progress, silent
from firth.static import average
from firth.static.average import TextVectors
from firth.static.corpus import Counting, count_texts
from firth.static.vectors import WordVectors
from firth.static.word2vec import Word2Vec

WORDS_READ = 4_000_000  # in all epochs together, at least
MOST_EPOCHS = 50
KEPT_OCCURRENCES = 30  # a word is left out at random only where it stands more often than this
LEARNT_FROM = 64 << 20  # characters of text kept at hand to learn the common direction from


@dataclass(frozen=True)
class DomainWords:
    """Settings of `train_base`.

    nDCG@10, one seed: SciFact 0.63 (BM25 0.66), Cranfield 0.29 (0.32), COVID FAQ 0.48 (0.55). On SciFact windows of 5
    words gave 0.24, of 10 0.57, of 20 0.61, and words that stand once 0.63 instead of being left out; CBOW gave 0.45.

    Attributes:
        counting: how the documents are read. Every word counts: a name that stands once is what finds its document.
        word2vec: `epochs` and `subsample` are for a million words and more; smaller domains are read more often and
            keep more of their frequent words.
        smoothing: SIF's a.
    """

    counting: Counting = field(default_factory=lambda: Counting(min_count=1, tokenizer="unicode"))
    word2vec: Word2Vec = field(
        default_factory=lambda: Word2Vec(dims=256, window=20, epochs=8, rate=0.05, subsample=1e-4)
    )
    smoothing: float = average.SMOOTHING


def train_base(
    documents: Iterable[str],
    settings: DomainWords | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> TextVectors:
    """Learn an encoder from the texts of a domain.

    Args:
        documents: walked through once.
        seed, threads: of the training; one thread, or `word2vec.deterministic`, repeats to the last bit.

    Returns:
        An encoder to `save` as .safetensors.

    Raises:
        TrainingError: the documents hold no word often enough.
    """
    settings = settings or DomainWords()
    sample: list[str] = []
    corpus = count_texts(_kept(documents, sample), settings.counting, threads=threads, progress=progress)
    words = _sized(settings.word2vec, corpus.tokens, seed, threads).train(corpus, progress=progress)
    encoder = average.sif(words, sample, smoothing=settings.smoothing)
    return _turned(encoder, sample)


def _sized(settings: Word2Vec, tokens: int, seed: int, threads: int | None) -> Word2Vec:
    """The settings for a corpus of so many words: a small one is read more often and thinned out less."""
    epochs = max(settings.epochs, min(MOST_EPOCHS, WORDS_READ // tokens))
    subsample = max(settings.subsample, KEPT_OCCURRENCES / tokens) if settings.subsample else 0.0
    return replace(settings, epochs=epochs, subsample=subsample, seed=seed, threads=threads)


def _kept(documents: Iterable[str], sample: list[str]) -> Iterator[str]:
    """The documents as they come; the first ones are kept."""
    room = LEARNT_FROM
    for document in documents:
        if room > 0:
            sample.append(document)
            room -= len(document)
        yield document


def _turned(encoder: TextVectors, sample: list[str]) -> TextVectors:
    """The same encoder in coordinates of falling variance over the sample."""
    turn = average.leading(average.outer(encoder, sample), encoder.dims).T
    words = encoder.words
    turned = WordVectors(words.words, np.ascontiguousarray(words.vectors @ turn), words.counts, about=words.about)
    return TextVectors(turned, encoder.weights, encoder.common @ turn, tokenizer=encoder.tokenizer)
