"""ids -> word vectors: word2vec and GloVe trained on one's own text, and text vectors made from them."""

from __future__ import annotations

from firth.static.corpus import Corpus, Counting, Vocabulary, count, count_texts
from firth.static.state import State
from firth.static.vectors import WordVectors
from firth.static.word2vec import Word2Vec

__all__ = ["Corpus", "Counting", "State", "Vocabulary", "Word2Vec", "WordVectors", "count", "count_texts"]
