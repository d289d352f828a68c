"""Fingerprints: what is shared is found without the texts, what is not is not, the shipped ones are the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firth.errors import FormatError
from firth.evaluate import benchmarks
from firth.evaluate.overlap import similarity
from firth.text.testset import TestSet

LONG = " ".join(f"word{i}" for i in range(80))


def test_a_text_is_found_however_it_is_written() -> None:
    prints = benchmarks.fingerprint("Set", ["How do I pay?", "Who are you, really?", ""])
    (pair,) = benchmarks.shared_with({"a": "how do i PAY", "b": "something else entirely", "c": ""}, prints)
    assert (pair.first, pair.second, pair.how, pair.similarity) == ("a", "Set, text 0", "normalised", 1.0)


def test_a_near_copy_is_found_by_its_sketch_at_its_true_similarity() -> None:
    first, second = "how do i pay my card bill from abroad today", "how do i pay my card bill from abroad tomorrow"
    (pair,) = benchmarks.shared_with({"a": second}, benchmarks.fingerprint("Set", ["unrelated words", first]))
    assert pair.how == "near"
    assert pair.similarity == pytest.approx(similarity(first, second), abs=1e-9)


def test_the_estimate_for_long_texts_is_near_the_truth() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        words = [f"w{i}" for i in rng.integers(0, 10**6, 120)]
        other = [word if rng.random() > 0.03 else "changed" for word in words]
        texts = " ".join(words), " ".join(other)
        prints = benchmarks.fingerprint("Set", [texts[0]])
        (pair,) = benchmarks.shared_with({"a": texts[1]}, prints, least=0.01)
        errors.append(pair.similarity - similarity(*texts))
    assert abs(np.mean(errors)) < 0.05
    assert np.std(errors) < 0.15


def test_fingerprints_are_saved_and_loaded_and_hold_no_text(tmp_path: Path) -> None:
    path = tmp_path / "prints"
    benchmarks.save([benchmarks.fingerprint("A", [LONG, "x"]), benchmarks.fingerprint("B", [])], path)
    loaded = benchmarks.load(path)
    assert [len(each) for each in loaded.values()] == [2, 0]
    assert benchmarks.shared_with({"a": LONG}, loaded["A"])
    assert b"word1" not in path.read_bytes()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match="truncated"):
        benchmarks.load(path)


def test_the_shipped_fingerprints_know_scifact(data: Path) -> None:
    scifact = TestSet.load(data / "retrieval" / "scifact", "test")
    asked = {query: scifact.queries[query] for query in scifact.judgements}
    assert len(benchmarks.shared_with(asked, benchmarks.known()["SciFact test queries"])) == len(asked) == 300
    assert not benchmarks.shared_with(asked, benchmarks.known()["Banking77 test"])
