"""Shared texts are found exactly, after normalising, and nearly; nothing far is called near."""

from __future__ import annotations

import numpy as np
import pytest

from firth.errors import SettingsError
from firth.evaluate.overlap import Near, duplicates, normalised, on_clean, overlap, similarity
from firth.evaluate.retrieval import Scores

WORDS = [f"word{i}" for i in range(500)]
TRAIN = {
    "t1": "Vitamin D lowers the risk of a stroke",
    "t2": "How long does the virus survive on steel?",
    "t3": "statins reduce cholesterol in adults over the age of fifty",
}


def test_a_copied_text_is_found_with_its_twin() -> None:
    found = overlap({"q": TRAIN["t2"]}, TRAIN)
    assert [(pair.first, pair.second, pair.how) for pair in found.pairs] == [("q", "t2", "exact")]
    assert found.clean == ()


@pytest.mark.parametrize(
    "text",
    [
        "how long does the virus survive on steel",
        "HOW LONG does the virus -- survive, on steel!?",
        "Ｈow long does\nthe virus survive on steel",
    ],
)
def test_case_punctuation_and_width_do_not_hide_a_copy(text: str) -> None:
    (pair,) = overlap({"q": text}, TRAIN).pairs
    assert (pair.second, pair.how) == ("t2", "normalised")


def test_a_text_with_one_word_changed_is_near() -> None:
    text = "statins reduce cholesterol in adults over the age of sixty"
    (pair,) = overlap({"q": text}, TRAIN, Near(least=0.6)).pairs
    assert (pair.second, pair.how) == ("t3", "near")
    assert pair.similarity == pytest.approx(7 / 9)


def test_texts_on_one_subject_are_not_near() -> None:
    found = overlap({"q": "Does vitamin C change the risk of heart disease", "r": "the"}, TRAIN)
    assert found.pairs == ()
    assert found.clean == ("q", "r")
    assert found.counts == {"exact": 0, "normalised": 0, "near": 0}


def test_empty_texts_share_nothing() -> None:
    assert overlap({"q": "", "r": "?!"}, {"t": "", "u": "..."}).counts == {"exact": 1, "normalised": 0, "near": 0}
    assert duplicates({"a": "", "b": "!?"}) == ()
    assert similarity("", "") == 0


def test_near_pairs_are_those_that_comparing_everything_finds(rng: np.random.Generator) -> None:
    texts = {}
    for i in range(60):
        words = rng.choice(WORDS, 40).tolist()
        texts[f"a{i}"] = " ".join(words)
        for place in rng.integers(0, 40, int(rng.integers(0, 6))):
            words[place] = "changed"
        texts[f"b{i}"] = " ".join(words)
    settings = Near(words=2, least=0.6)
    ids = list(texts)
    expected = {
        (a, b) for i, a in enumerate(ids) for b in ids[i + 1 :] if similarity(texts[a], texts[b], 2) >= settings.least
    }
    found = {tuple(sorted((pair.first, pair.second))) for pair in duplicates(texts, settings)}
    assert found == {tuple(sorted(pair)) for pair in expected}
    assert 30 < len(found) <= 60


def test_every_copy_in_a_set_is_told_once() -> None:
    texts = {
        "a": "one two three four",
        "b": "One two, three four!",
        "c": "one two three four",
        "d": "other words here now",
    }
    assert [(pair.first, pair.second, pair.how) for pair in duplicates(texts)] == [
        ("a", "b", "normalised"), ("a", "c", "exact"),
    ]  # fmt: skip


def test_scores_are_taken_over_the_clean_queries_only() -> None:
    scores = Scores(("a", "b", "c"), {"mrr": np.array([1.0, 0.0, 0.5])}, absent=("b",))
    clean = on_clean(scores, ["a", "c"])
    assert clean.queries == ("a", "c")
    assert clean.mean == {"mrr": 0.75}
    assert clean.absent == ()


def test_normalised_words_of_any_script() -> None:
    assert normalised("Ångström, Ω-3 — 東京タワー №5") == "ångström ω 3 東京タワー no5"


@pytest.mark.parametrize("settings", [{"words": 0}, {"least": 0.0}, {"least": 1.1}, {"rows": 3}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="hashes a multiple of rows"):
        Near(**settings)  # type: ignore[arg-type]
