"""Hidden words: 15 % of the tokens, 80/10/10, whole words together, other places each time."""

from __future__ import annotations

import numpy as np
import pytest

from firth.contextual.masking import Vocabulary, hide
from firth.errors import ModelError
from firth.text.vocabulary import train_wordpiece

SIZE = 50
SPECIAL = np.arange(SIZE) < 5
CONTINUES = np.arange(SIZE) >= 30
WORDS = Vocabulary(2, 3, 4, np.arange(5, SIZE), SPECIAL, CONTINUES)


def texts(rng: np.random.Generator, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    lengths = rng.integers(3, 60, count)
    ids = rng.integers(5, SIZE, lengths.sum())
    ids[np.cumsum(lengths) - lengths] = WORDS.cls
    ids[np.cumsum(lengths) - 1] = WORDS.sep
    return ids, lengths


@pytest.mark.parametrize("whole", [False, True])
def test_fifteen_in_a_hundred_are_hidden_and_become_80_10_10(rng: np.random.Generator, whole: bool) -> None:
    ids, lengths = texts(rng, 3000)
    hidden, places = hide(ids, lengths, WORDS, rng, whole_words=whole)
    assert abs(len(places) / (~SPECIAL[ids]).sum() - 0.15) < 0.005
    assert abs((hidden[places] == WORDS.mask).mean() - 0.8) < 0.01
    assert abs((hidden[places] == ids[places]).mean() - 0.1 - 0.1 / 45) < 0.01
    assert (np.delete(hidden, places) == np.delete(ids, places)).all()


def test_special_tokens_are_neither_hidden_nor_put_in_place_of_others(rng: np.random.Generator) -> None:
    ids, lengths = texts(rng)
    hidden, places = hide(ids, lengths, WORDS, rng)
    assert not SPECIAL[ids[places]].any()
    assert set(np.unique(hidden[places])) & set(range(5)) == {WORDS.mask}


def test_each_text_has_its_own_share(rng: np.random.Generator) -> None:
    lengths = np.array([202, 22])
    ids = np.full(224, 7)
    ids[[0, 202]], ids[[201, 223]] = WORDS.cls, WORDS.sep
    for _ in range(20):
        _, places = hide(ids, lengths, WORDS, rng)
        assert (places < 202).sum() == 30
        assert (places >= 202).sum() == 3


def test_the_pieces_of_a_word_are_hidden_together(rng: np.random.Generator) -> None:
    ids, lengths = texts(rng)
    _, places = hide(ids, lengths, WORDS, rng, whole_words=True)
    chosen = np.zeros(len(ids), bool)
    chosen[places] = True
    inside = np.flatnonzero(CONTINUES[ids[1:]] & ~SPECIAL[ids[:-1]]) + 1
    assert (chosen[inside] == chosen[inside - 1]).all()


def test_the_same_seed_hides_the_same_places_and_another_one_others(rng: np.random.Generator) -> None:
    ids, lengths = texts(rng)
    first, again, other = (hide(ids, lengths, WORDS, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_text_of_special_tokens_has_nothing_to_hide(rng: np.random.Generator) -> None:
    hidden, places = hide(np.array([2, 3]), np.array([2]), WORDS, rng)
    assert hidden.tolist() == [2, 3]
    assert len(places) == 0


def test_a_vocabulary_that_misses_mask_is_refused_by_name() -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import WordPiece

    from firth.text.tokenizer import Tokenizer

    backend = Backend(WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match=r"vocabulary of 4 entries has no \[MASK\]"):
        Vocabulary.of(Tokenizer(backend))


def test_a_learnt_vocabulary_has_all_that_masking_needs() -> None:
    found = Vocabulary.of(train_wordpiece(["walking talking walked"] * 3, size=100))
    assert (found.cls, found.sep, found.mask) == (2, 3, 4)
    assert found.special[:5].all()
    assert not found.special[5:].any()
