"""ids -> word vectors: word2vec and GloVe trained on one's own text, and text vectors made from them."""

from __future__ import annotations

from firth.static.cooccurrence import Cooccurrences, cooccurrences
from firth.static.corpus import Corpus, Counting, Vocabulary, count, count_texts
from firth.static.domain import DomainWords, train_base
from firth.static.glove import GloVe
from firth.static.phrases import Phrases, join_phrases
from firth.static.state import State
from firth.static.vectors import WordVectors
from firth.static.word2vec import Word2Vec

__all__ = [
    "Cooccurrences",
    "Corpus",
    "Counting",
    "DomainWords",
    "GloVe",
    "Phrases",
    "State",
    "Vocabulary",
    "Word2Vec",
    "WordVectors",
    "cooccurrences",
    "count",
    "count_texts",
    "join_phrases",
    "train_base",
]
