"""Word vectors answer the published questions as gensim's do, and the answers are graded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import DataError, SettingsError, ShapeError
from firth.evaluate import words as grading
from firth.static import WordVectors
from firth.static.questions import answered, rated

ANALOGIES = """: family
King Man Queen Woman
king queen man woman
: gram1-plural
cat cats dog dogs
cat cats bird birds
"""


@pytest.fixture
def wv(rng: np.random.Generator) -> WordVectors:
    words = ["king", "queen", "man", "woman", "cat", "cats", "dog", "dogs", *(f"w{i}" for i in range(40))]
    vectors = rng.normal(size=(48, 16)).astype(np.float32)
    vectors[3] = vectors[1] - vectors[0] + vectors[2]
    return WordVectors(words, vectors)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.txt"
    path.write_text(ANALOGIES)
    return path


def test_answers_and_unknown_words_are_counted_by_section(wv: WordVectors, file: Path) -> None:
    found = answered(wv, file)
    assert found.sections == ["family", "gram1-plural"]
    assert found.known.tolist() == [True, True, True, False]
    assert found.right[1]
    graded = {each.name: each for each in grading.analogies(**vars(found))}
    assert list(graded) == ["total", "semantic", "syntactic", "family", "gram1-plural"]
    assert (graded["total"].known, graded["total"].asked) == (3, 4)
    assert graded["family"].right == graded["semantic"].right == int(found.right[:2].sum())
    assert graded["total"].of_all == found.right.sum() / 4
    assert wv.analogies(file)["gram1-plural"] == (int(found.right[2]), 1, 2)


def test_both_methods_answer_as_most_similar_does(wv: WordVectors, file: Path) -> None:
    for method in ("add", "mul"):
        nearest = wv.most_similar(["cats", "dog"], ["cat"], k=1, method=method)[0][0]
        assert answered(wv, file, method=method).right[2] == (nearest == "dogs")


def test_analogies_agree_with_gensim_on_the_published_set(data: Path, rng: np.random.Generator) -> None:
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    path = data / "words" / "questions-words.txt"
    asked = sorted({word for line in path.read_text().lower().splitlines() if line[0] != ":" for word in line.split()})
    base = rng.normal(size=(len(asked), 20)).astype(np.float32)
    base += 3 * base[[hash(word[:3]) % len(asked) for word in asked]]
    wv = WordVectors(asked[:-30], base[:-30])
    theirs = keyed(20)
    theirs.add_vectors(wv.words, wv.vectors)
    _, sections = theirs.evaluate_word_analogies(str(path))
    found = answered(wv, path)
    for section in sections[:-1]:
        here = found.section == found.sections.index(section["section"])
        assert (found.right & here).sum() == pytest.approx(len(section["correct"]), abs=1)
        assert (found.known & here).sum() == len(section["correct"]) + len(section["incorrect"])


@pytest.mark.parametrize("name", ["EN-WS-353-ALL.txt", "EN-SIMLEX-999.txt", "EN-MEN-TR-3k.txt"])
def test_word_similarity_agrees_with_gensim(data: Path, rng: np.random.Generator, name: str) -> None:
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    path = data / "words" / name
    words = sorted({word.lower() for line in path.read_text().splitlines() for word in line.split("\t")[:2]})[:-20]
    wv = WordVectors(words, rng.normal(size=(len(words), 10)).astype(np.float32))
    theirs = keyed(10)
    theirs.add_vectors(wv.words, wv.vectors)
    _, spearman, unknown = theirs.evaluate_word_pairs(str(path))
    found = rated(wv, path)
    graded = grading.similarity(found.human, found.cosine)
    assert graded.spearman.value == pytest.approx(spearman.statistic, abs=1e-6)
    assert graded.spearman.low < graded.spearman.value < graded.spearman.high
    assert 100 * (1 - graded.covered / graded.pairs) == pytest.approx(unknown)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a b c d\n", "line 1: expected a section like"),
        (": s\na b c\n", "line 2: expected four words, got 'a b c'"),
        (": s\n", "the file holds no questions"),
    ],
)
def test_a_malformed_file_of_analogies_is_named(wv: WordVectors, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "q.txt").write_text(content)
    with pytest.raises(DataError, match=said):
        answered(wv, tmp_path / "q.txt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a b\n", "line 1: expected two words and a number"),
        (b"a b high\n", "line 1: expected two words"),
        (b"\n", "no pairs"),
        (b"\xff", "byte 0 is not UTF-8"),
    ],
)
def test_a_malformed_file_of_pairs_is_named(wv: WordVectors, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        rated(wv, tmp_path / "p.txt")


def test_wrong_use_is_refused(wv: WordVectors, file: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="method 'sum'"):
        answered(wv, file, method="sum")
    with pytest.raises(DataError, match="there is no such file"):
        rated(wv, tmp_path / "absent.txt")
    with pytest.raises(DataError, match="1 of 3 pairs have known words"):
        grading.similarity([1, 2, 3], [0.1, np.nan, np.nan])
    with pytest.raises(ShapeError, match="must be one"):
        grading.similarity([1, 2, 3], [0.1, 0.2])
    with pytest.raises(ShapeError, match="sections 0 to 0"):
        grading.analogies(["a"], [0, 1], [True, True], [True, False])


def test_a_section_of_unknown_words_has_no_accuracy() -> None:
    graded: Any = grading.analogies(["a"], [0, 0], [False, False], [False, False])
    assert graded[0].accuracy.n == 0
    assert graded[0].of_all == 0
