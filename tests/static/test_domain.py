"""A base model from the domain's own documents finds them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firth.errors import TrainingError
from firth.static import Counting, DomainWords, Word2Vec, average, train_base
from firth.text.read import read

QUICK = DomainWords(word2vec=Word2Vec(dims=32, window=10, epochs=5, rate=0.05))


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """600 texts on three subjects with words of their own."""
    rng = np.random.default_rng(5)
    subjects = [[f"{name}{i}" for i in range(30)] for name in ("reef", "court", "vine")]
    return [" ".join(rng.choice([*subjects[i % 3], "the", "of", "and"], 40)) for i in range(600)]


def test_texts_of_one_subject_come_to_lie_together(documents: list[str]) -> None:
    encoder = train_base(iter(documents), QUICK, threads=1)
    near = encoder.encode(["reef1 reef2"]) @ encoder.encode(documents).T
    assert set(np.argsort(-near[0])[:50] % 3) == {0}


def test_leading_dimensions_hold_most_of_the_variance(documents: list[str]) -> None:
    encoder = train_base(documents, QUICK, threads=1)
    variance = encoder.encode(documents).var(axis=0)
    assert variance[:8].sum() > 0.7 * variance.sum()


def test_one_thread_or_deterministic_training_repeats_itself(documents: list[str], tmp_path: Path) -> None:
    first, again = (train_base(documents, QUICK, threads=1, seed=3) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != train_base(documents, QUICK, threads=1, seed=4).fingerprint
    fixed = replace(QUICK, word2vec=replace(QUICK.word2vec, deterministic=True))
    assert train_base(documents, fixed, threads=1).fingerprint == train_base(documents, fixed, threads=3).fingerprint
    first.save(tmp_path / "w.safetensors")
    assert average.load(tmp_path / "w.safetensors").fingerprint == first.fingerprint


def test_documents_without_words_are_refused() -> None:
    with pytest.raises(TrainingError, match="holds no word"):
        train_base(["…", ""])
    with pytest.raises(TrainingError, match="no word reaches min_count=2"):
        train_base(["one two three"], DomainWords(counting=Counting(min_count=2)))


def test_a_small_domain_is_read_more_often_than_a_large_one(documents: list[str]) -> None:
    trained = train_base(documents[:5], threads=1)
    assert trained.words.about["settings"]["epochs"] == 50
    assert trained.words.about["settings"]["subsample"] == 30 / 200


@pytest.mark.slow
def test_scifact_is_searched_at_ndcg_above_fifty_five(data: Path) -> None:
    domain = read(data / "retrieval" / "scifact")
    documents = {document.id: document.full for document in domain.documents}
    encoder = train_base(documents.values(), threads=2)
    relevant = domain.judgements["test"]
    rows, keys = encoder.encode(list(documents.values())), list(documents)
    near = encoder.encode([domain.queries[query] for query in relevant]) @ rows.T
    gains = []
    for i, grades in enumerate(relevant.values()):
        best = [grades.get(keys[j], 0) > 0 for j in np.argsort(-near[i])[:10]]
        discount = 1 / np.log2(np.arange(2, 12))
        gains.append(discount @ best / discount[: sum(grade > 0 for grade in grades.values())].sum())
    assert np.mean(gains) > 0.55
