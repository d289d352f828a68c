"""What BERT reads: true and strange pairs, packed rows, the same for the same seed."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from firth.contextual.sequences import TokenCorpus, packed, pairs, rows_of_epoch, stretches
from firth.errors import DataError
from firth.text.vocabulary import train_wordpiece


def corpus(rng: np.random.Generator, documents: int = 40) -> TokenCorpus:
    counts = rng.integers(1, 30, documents)
    lengths = rng.integers(1, 40, counts.sum())
    ids = np.arange(lengths.sum(), dtype=np.int32)  # each token is its own place
    return TokenCorpus(ids, np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([[0], np.cumsum(counts)]))


def document_of(text: TokenCorpus, place: int) -> int:
    sentence = np.searchsorted(text.sentences, place, "right") - 1
    return int(np.searchsorted(text.documents, sentence, "right") - 1)


def test_half_the_pairs_are_neighbours_and_half_from_another_document(rng: np.random.Generator) -> None:
    text = corpus(rng)
    found = list(islice(pairs(text, 64, "0"), 4000))
    assert abs(np.mean([strange for *_, strange in found]) - 0.5) < 0.03
    for a, a_end, b, b_end, strange in found:
        assert a < a_end
        assert b < b_end
        assert a_end - a + b_end - b <= 61
        assert (document_of(text, a) != document_of(text, b)) == strange
        assert document_of(text, a) == document_of(text, a_end - 1)
        assert document_of(text, b) == document_of(text, b_end - 1)
        assert strange or b == a_end


def test_without_pairs_every_token_is_read_once_a_time_round(rng: np.random.Generator) -> None:
    text = corpus(rng)
    read, spans = 0, []
    for span in stretches(text, 32, "0"):
        spans.append(span)
        read += span[1] - span[0]
        if read >= len(text.ids):
            break
    places = np.concatenate([np.arange(a, end) for a, end, *_ in spans])
    assert np.array_equal(np.sort(places), np.arange(len(text.ids)))
    assert max(end - a for a, end, *_ in spans) <= 30


@pytest.mark.parametrize("next_sentence", [True, False])
def test_rows_are_filled_to_98_in_a_hundred(rng: np.random.Generator, next_sentence: bool) -> None:
    rows = list(rows_of_epoch(corpus(rng), longest=64, tokens=1024, next_sentence=next_sentence, seed="0", steps=100))
    special = 3 if next_sentence else 2
    used = [sum(a_end - a + b_end - b + special for a, a_end, b, b_end, _ in row) for row in rows]
    assert len(rows) == 100
    assert max(used) <= 1024
    assert np.mean(used) / 1024 >= 0.98


def test_packing_loses_and_doubles_nothing(rng: np.random.Generator) -> None:
    spans = [(i * 100, i * 100 + int(size), 0, 0, False) for i, size in enumerate(rng.integers(1, 60, 500))]
    rows = list(packed(iter(spans), 128, special=2))
    assert sorted(span for row in rows for span in row) == spans


def test_the_same_seed_gives_the_same_rows_and_each_epoch_others(rng: np.random.Generator) -> None:
    text = corpus(rng)

    def epoch(seed: str) -> list[object]:
        return list(rows_of_epoch(text, longest=64, tokens=512, next_sentence=True, seed=seed, steps=9))

    assert epoch("0 1") == epoch("0 1") != epoch("0 2")


def test_a_text_of_one_document_cannot_have_strangers(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match=r"the text has 1 of at most .* put blank lines between documents"):
        next(pairs(corpus(rng, 1), 64, "0"))


def test_a_corpus_holds_the_ids_of_its_sentences() -> None:
    documents = [["the cat sat", "\u200b"], ["a dog", "the cat"]]
    tokenizer = train_wordpiece(["the cat sat a dog"] * 4, size=100)
    text = TokenCorpus.of(documents, tokenizer)
    assert tokenizer.tokens(text.ids) == ["the", "cat", "sat", "a", "dog", "the", "cat"]
    assert text.sentences.tolist() == [0, 3, 5, 7]
    assert text.documents.tolist() == [0, 1, 3]
    assert text.part(1, 2).ids.tolist() == text.ids[3:].tolist()
    assert text.part(1, 2).sentences.tolist() == [0, 2, 4]
