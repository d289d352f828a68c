"""A word's vector in its context is the mean of its pieces there; a gap is filled by what was learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firth.contextual.bert import Bert, BertSettings
from firth.contextual.elmo import Elmo, ElmoSettings
from firth.contextual.occurrences import BertReader, ElmoReader, fill, find, vectors_of
from firth.contextual.pretrain import Pretrained
from firth.contextual.pretraining import BertPretraining
from firth.errors import DataError, SettingsError
from firth.text.tokenizer import Tokenizer

TEXTS = ["The bank of the river.", "no such word", "A BANK, a banker; bank!"]


def test_a_word_is_found_whole_and_in_any_case() -> None:
    assert [(one.text, TEXTS[one.text][one.start : one.end]) for one in find("bank", TEXTS)] == [
        (0, "bank"),
        (2, "BANK"),
        (2, "bank"),
    ]
    with pytest.raises(DataError, match="'shore' stands in none of 3 sentences"):
        find("shore", TEXTS)
    with pytest.raises(SettingsError, match="got an empty one"):
        find(" ", TEXTS)


def test_berts_vector_of_a_word_is_the_mean_of_its_pieces(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    bert = Bert(BertSettings(vocab=tokenizer.size, dims=16, layers=2, heads=2, hidden=32, positions=64)).eval()
    texts = ["the cat purred near xyzzy .", "a cat"]
    found = vectors_of(find("purred", texts) + find("cat", texts), texts, BertReader(bert, tokenizer))
    assert found.shape == (3, 3, 16)
    ragged = tokenizer.encode([texts[0]])
    hidden = bert(torch.from_numpy(ragged.ids), torch.from_numpy(ragged.lengths)).detach().numpy()
    place = tokenizer.tokens(ragged.ids).index("purred")
    np.testing.assert_allclose(found[-1, 0], hidden[place], atol=1e-6)
    np.testing.assert_allclose(found[-1, 1], hidden[tokenizer.tokens(ragged.ids).index("cat")], atol=1e-6)


def test_elmos_vector_of_a_word_is_its_own() -> None:
    torch.manual_seed(0)
    shape = ElmoSettings(size=4, filters=((1, 4),), projection=8, cells=8)
    elmo = Elmo(shape, ["<S>", "</S>", "<UNK>"]).eval()
    found = vectors_of(find("bank", TEXTS), TEXTS, ElmoReader(elmo))
    assert found.shape == (3, 3, 16)
    alone = elmo.layers_of([["The", "bank", "of", "the", "river", "."]])[0][:, 1]
    np.testing.assert_allclose(found[:, 0], alone, rtol=1e-5, atol=1e-7)
    assert not np.allclose(found[1, 1], found[1, 2])


def test_a_gap_is_filled_with_what_the_text_taught(
    tokenizer: Tokenizer, trained: tuple[BertPretraining, Pretrained]
) -> None:
    model, _ = trained
    gaps = fill(model, tokenizer, "the cat [MASK] near the house a .", k=3)
    verbs = {"purred", "barked", "mooed", "quacked", "buzzed", "grunted"}
    assert {guess.word for guess in gaps[0]} < verbs
    assert sum(guess.probability for guess in gaps[0]) > 0.4
    assert len(fill(model, tokenizer, "the [MASK] [MASK] near", k=1)) == 2
    with pytest.raises(DataError, match=r"no \[MASK\] in 'the cat'"):
        fill(model, tokenizer, "the cat")
    with pytest.raises(DataError, match="tokens longer than the 64 of this model"):
        fill(model, tokenizer, "[MASK] " + "cat " * 90)
