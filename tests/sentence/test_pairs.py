"""Pairs from documents alone: each kind is what its name says, and the same seed makes the same pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from firth.errors import DataError, SettingsError
from firth.sentence.pairs import PairSettings, cloze, crops, harvest, questions, sentences, titles, twins
from firth.text.records import Document, Pair

BODY = "The tower stands in Paris. It was built in 1889 by Eiffel. Many people go up each day. It is very tall."
LONG = " ".join(f"w{i}" for i in range(200))


@pytest.fixture
def documents() -> list[Document]:
    return [Document(str(i), f"Part {i}. {BODY}", f"About tower {i}") for i in range(30)]


def test_a_title_asks_for_its_text() -> None:
    assert list(titles(Document("1", BODY, "The Eiffel tower"))) == [Pair("The Eiffel tower", BODY)]


def test_a_text_that_begins_with_its_title_loses_it() -> None:
    (pair,) = titles(Document("1", f"The Eiffel Tower: {BODY}", "The Eiffel tower"))
    assert pair.positive == BODY


@pytest.mark.parametrize(("title", "text"), [("", BODY), ("Tower", BODY), ("The Eiffel tower", "too short")])
def test_no_title_one_word_or_no_text_makes_no_pair(title: str, text: str) -> None:
    assert not list(titles(Document("1", text, title)))


def test_a_title_that_many_documents_bear_makes_no_pair() -> None:
    rows = [Document(str(i), f"{i} {BODY}", "See also") for i in range(5)] + [Document("x", BODY, "One of a kind")]
    found = harvest(rows, PairSettings(kinds=("titles",)))
    assert [pair.query for pair in found.pairs] == ["One of a kind"]
    assert (found.documents, found.without) == (6, 5)


def test_a_first_line_that_asks_is_answered_by_the_rest() -> None:
    assert list(questions(Document("1", f"How tall is it?\n\n{BODY}"))) == [Pair("How tall is it?", BODY)]
    assert not list(questions(Document("1", f"It is tall.\n{BODY}")))
    assert not list(questions(Document("1", f"Why?\n{BODY}")))


def test_a_cloze_query_is_taken_out_of_its_passage() -> None:
    found = [next(cloze(Document("1", BODY), np.random.default_rng(seed))) for seed in range(300)]
    assert {pair.query for pair in found} <= set(sentences(BODY))
    kept = [pair for pair in found if pair.query in pair.positive]
    assert 10 <= len(kept) <= 60  # a tenth
    for pair in found:
        if pair.query not in pair.positive:
            assert set(sentences(pair.positive)) == set(sentences(BODY)) - {pair.query}


def test_a_text_of_one_sentence_has_no_cloze() -> None:
    assert not list(
        cloze(Document("1", "Only one sentence stands in this little document here."), np.random.default_rng(0))
    )


def test_crops_are_stretches_of_the_text_between_a_tenth_and_half_of_it() -> None:
    for seed in range(50):
        for pair in crops(Document("1", LONG), np.random.default_rng(seed), 2):
            for part in (pair.query, pair.positive):
                assert part in LONG
                assert 20 <= len(part.split()) <= 100


def test_twins_are_the_text_itself() -> None:
    assert list(twins(Document("1", BODY, "Title"))) == [Pair(f"Title {BODY}", f"Title {BODY}")]


def test_the_same_seed_makes_the_same_pairs(documents: list[Document]) -> None:
    settings = PairSettings(kinds=("titles", "cloze", "crops"), per_document=2)
    first = harvest(documents, settings)
    assert first == harvest(documents, settings)
    assert first.pairs != harvest(documents, PairSettings(kinds=settings.kinds, per_document=2, seed=1)).pairs
    assert first.counts == {"titles": 30, "cloze": 60, "crops": 60} or first.counts["cloze"] == 60


def test_what_a_document_gives_does_not_depend_on_the_others_behind_it(documents: list[Document]) -> None:
    settings = PairSettings(kinds=("cloze",))
    assert harvest(documents[:5], settings).pairs == harvest(documents, settings).pairs[:5]


def test_no_more_pairs_than_asked_for_from_all_over(documents: list[Document]) -> None:
    found = harvest(documents, PairSettings(kinds=("cloze",), most=10))
    assert len(found.pairs) == 10
    numbers = [int(pair.positive.split()[2]) for pair in found.pairs]  # "About tower 7 …"
    assert numbers == sorted(numbers)
    assert max(numbers) > 12


def test_a_pair_comes_once(documents: list[Document]) -> None:
    found = harvest([documents[0], documents[0]], PairSettings(kinds=("titles",)))
    assert len(found.pairs) == 1


def test_a_stream_that_can_be_read_once_is_enough(documents: list[Document]) -> None:
    def stream() -> Iterator[Document]:
        yield from documents

    assert len(harvest(stream()).pairs) == 60


def test_sentences_end_where_a_new_one_begins() -> None:
    text = 'Dr. Who left at 5.30 p.m. yesterday. "Why?" she asked. Nobody (e.g. Tom) knew!\n\nこれは本。それも本。'
    expected = ["Dr. Who left at 5.30 p.m. yesterday.", '"Why?" she asked.', "Nobody (e.g. Tom) knew!"]
    assert sentences(text) == [*expected, "これは本。", "それも本。"]


def test_documents_that_give_nothing_are_told() -> None:
    with pytest.raises(DataError, match="no training pairs in 1 documents: looked for titles, questions, cloze"):
        harvest([Document("1", "short")])


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(SettingsError, match="kinds: expected some of titles, questions, cloze, crops, twins"):
        PairSettings(kinds=("guess",))
