"""Phrases: pairs that stand together more often than chance become words."""

from __future__ import annotations

import numpy as np
import pytest

from firth.errors import SettingsError
from firth.static import Corpus, Counting, count
from firth.static.phrases import Phrases, join_phrases


def corpus(lists: list[list[str]]) -> Corpus:
    return count(lists, Counting(min_count=1))


def spelled(corpus: Corpus) -> list[str]:
    return " ".join("." if i < 0 else corpus.vocabulary.words[i] for i in corpus.ids).split(" .")[:-1]


@pytest.fixture
def places(rng: np.random.Generator) -> list[list[str]]:
    """New York and its Times among random words."""
    words = [f"w{i}" for i in range(200)]
    lists = [[*rng.choice(words, 6), "new", "york", *rng.choice(words, 4)] for _ in range(300)]
    return [*lists, *([*rng.choice(words, 3), "new", "york", "times"] for _ in range(100))]


def test_words_that_stand_together_become_one(places: list[list[str]]) -> None:
    joined = join_phrases(corpus(places), Phrases(threshold=8))
    assert joined.vocabulary.words[0] == "new_york"
    assert joined.vocabulary.counts[0] == 400
    assert "york" not in joined.vocabulary
    assert not any(word.startswith("w") and "_" in word for word in joined.vocabulary.words)


def test_a_second_pass_joins_longer_phrases(places: list[list[str]]) -> None:
    joined = join_phrases(corpus(places), Phrases(passes=2, threshold=4, discount=1))
    assert "new_york_times" in joined.vocabulary
    assert joined.vocabulary.counts[joined.vocabulary.ids["new_york"]] == 300


def test_pairs_are_joined_from_the_left_and_share_no_word() -> None:
    repeated = corpus([["a", "a", "a", "a", "a"]] * 10)
    joined = join_phrases(repeated, Phrases(threshold=0.1, discount=0, min_count=1))
    assert spelled(joined)[0] == "a_a a_a a"


def test_sentences_keep_their_ends_and_counts_their_sum() -> None:
    lists = [["x", "y"], ["y", "x"], ["x", "y", "z"]] * 20
    joined = join_phrases(corpus(lists), Phrases(threshold=1.2, discount=0, min_count=1))
    assert [line.split() for line in spelled(joined)[:3]] == [["x_y"], ["y", "x"], ["x_y", "z"]]
    assert joined.vocabulary.counts.sum() == (joined.ids >= 0).sum()
    assert sorted(joined.vocabulary.counts, reverse=True) == joined.vocabulary.counts.tolist()


def test_a_corpus_without_phrases_stays_as_it_is(places: list[list[str]]) -> None:
    before = corpus(places)
    after = join_phrases(before, Phrases(threshold=1e9, min_count=1))
    np.testing.assert_array_equal(after.ids, before.ids)
    assert after.vocabulary.words == before.vocabulary.words


def test_a_phrase_that_is_a_word_already_is_the_same_word() -> None:
    joined = join_phrases(corpus([["p", "q"], ["p_q"]] * 10), Phrases(threshold=1, discount=0, min_count=1))
    assert joined.vocabulary.words == ["p_q"]
    assert joined.vocabulary.counts.tolist() == [20]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="passes and min_count from 1"):
        Phrases(passes=0)
