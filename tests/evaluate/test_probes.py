"""Probes: what each change changes, what a case asks, and that encoders with a known weakness show it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import DataError
from firth.evaluate import perturb
from firth.evaluate.cases import Case, chunks
from firth.evaluate.multilingual import LANGUAGES, latin, without_marks
from firth.evaluate.probes import FARTHEST, MARKS, cases, probe


@dataclass(frozen=True)
class Doc:
    text: str


@cache
def vector(word: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=256)


class Words:
    """Words hashed to random vectors: sees every character of a word, no order; reads only `most` words."""

    dims = 256
    fingerprint = "words"

    def __init__(self, most: int = 100_000, *, blind: str = "") -> None:
        self.most = most
        self.blind = re.compile(blind) if blind else None

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        rows = []
        for text in texts:
            seen = self.blind.sub("", text) if self.blind else text
            words = sorted(re.findall(r"\w+", seen.lower())[: self.most]) or ["nothing"]
            rows.append(np.sum([vector(word) for word in words], axis=0))
        return unit(np.array(rows, np.float32))


@pytest.fixture(scope="module")
def documents() -> list[Doc]:
    places = ["Berlin", "Madrid", "Vienna", "Lisbon", "Dublin", "Athens", "Warsaw", "Prague"]
    return [
        Doc(
            f"The plant{i} of subject{i} in {places[i % 8]} was opened in {1950 + i} by worker{i} and crew{i}. "
            f"It makes {100 + 7 * i} parts of model AX-{200 + i} a day and weighs {i + 3} kg in total. "
            f"Each part{i} is sold for ${i + 11} to buyer{i} without any further discount at all."
        )
        for i in range(60)
    ]


@pytest.mark.parametrize(
    ("change", "text", "pattern"),
    [
        ("number", "It has 45 rooms since 1998", r"It has \d\d rooms since 1998"),
        ("date", "It has 45 rooms since 1998", r"It has 45 rooms since (19|20)\d\d"),
        ("date", "It opened in March", r"It opened in [A-Z][a-z]+"),
        ("unit", "Take 5 mg twice", "Take 5 g twice"),
        ("currency", "It costs $40 now", "It costs €40 now"),
        ("identifier", "Order part AX-200B today", r"Order part AX-\d\d\dB today"),
        ("negation", "The drug is safe", "The drug is not safe"),
        ("negation", "The drug is not safe", "The drug is safe"),
    ],
)
def test_a_change_changes_what_it_is_named_for_and_nothing_else(
    change: str, text: str, pattern: str, rng: np.random.Generator
) -> None:
    changed = perturb.CHANGES[change](text, rng)
    assert changed is not None
    assert changed.text != text
    assert re.fullmatch(pattern, changed.text)
    assert text[: changed.start] == changed.text[: changed.start]


@pytest.mark.parametrize("change", list(perturb.CHANGES))
def test_a_text_without_anything_to_change_is_left_alone(change: str, rng: np.random.Generator) -> None:
    assert perturb.CHANGES[change]("nothing to see here", rng) is None


def test_a_name_is_put_where_another_stood(rng: np.random.Generator) -> None:
    changed = perturb.name_among(["Paris"])("We met in London again", rng)
    assert changed is not None
    assert changed.text == "We met in Paris again"


def test_typing_errors_keep_the_letters(rng: np.random.Generator) -> None:
    text = "the cholesterol of patients decreased"
    wrong = perturb.mistyped(text, rng, 2)
    assert sum(a != b for a, b in zip(text.split(), wrong.split(), strict=True)) == 2
    assert sorted(text) == sorted(wrong)
    assert perturb.mistyped("a bb ccc", rng) == "a bb ccc"


def test_every_probe_gets_its_cases(documents: list[Doc]) -> None:
    made = cases(documents, n=12)
    assert {case.probe for case in made} == set(MARKS)
    facts = {case.slice for case in made if case.probe == "fact"}
    assert facts == {"number", "date", "unit", "currency", "identifier", "name", "negation"}
    for case in made:
        assert case.right not in case.wrong
        assert case.query


@pytest.mark.parametrize("name", MARKS)
def test_the_cases_of_one_probe_do_not_change_with_the_others_asked_for(documents: list[Doc], name: str) -> None:
    alone = cases(documents, n=4, only=[name])
    assert alone == [case for case in cases(documents, n=4) if case.probe == name]
    assert alone


def test_the_same_seed_makes_the_same_cases(documents: list[Doc]) -> None:
    assert cases(documents, n=5, seed=1) == cases(documents, n=5, seed=1)
    assert cases(documents, n=5, seed=1) != cases(documents, n=5, seed=2)


def test_an_encoder_that_cannot_see_digits_fails_the_numbers_and_only_those(documents: list[Doc]) -> None:
    made = [case for case in cases(documents, n=20) if case.probe == "fact"]
    seeing = {each.slice: each for each in probe(Words(), made)}
    blind = {each.slice: each for each in probe(Words(blind=r"\d"), made)}
    assert seeing["number"].right.value > 0.9
    assert blind["number"].right.value == 0
    assert not blind["number"].passed
    assert blind["name"].right.value > 0.9
    assert len(blind["number"].worst) == 5


def test_an_encoder_that_stops_reading_fails_beyond_that_word(documents: list[Doc]) -> None:
    made = [case for case in cases(documents, n=20) if case.probe == "position"]
    found = {each.slice: each for each in probe(Words(most=300), made)}
    assert found["word 50"].right.value == 1
    assert found["word 500"].right.value == 0
    assert found["word 8,000"].right.value == 0


def test_an_encoder_without_word_order_cannot_tell_who_did_what(documents: list[Doc]) -> None:
    (found,) = probe(Words(), [case for case in cases(documents, n=30) if case.probe == "role"])
    assert found.right.value < 0.2
    assert found.worst[0].margin >= 0


def test_writing_is_graded_by_slice(documents: list[Doc]) -> None:
    made = [case for case in cases(documents, n=15) if case.probe == "writing"]
    found = {each.slice: each.right.value for each in probe(Words(), made)}
    assert found["as it is"] == found["capitals"] == found["no punctuation"] == 1
    assert found["three errors"] <= found["one error"] <= 1


def test_a_tie_is_a_failure() -> None:
    (found,) = probe(Words(), [Case("role", "same", "a b", "a b", ("b a",))])
    assert found.right.value == 0


def test_nothing_to_probe_with_is_an_error() -> None:
    with pytest.raises(DataError, match="no document has a sentence of six words"):
        cases([Doc("too short")])
    with pytest.raises(DataError, match="no cases to probe with"):
        probe(Words(), [])


def test_chunks_save_what_a_short_reader_cuts_off(documents: list[Doc]) -> None:
    made = cases(documents, n=20, only=["position"])
    found = {each.slice: each for each in probe(Words(most=160), made)}
    assert found["word 2,000"].right.value == 0
    assert found["word 2,000, in chunks"].right.value >= 0.8
    assert found["word 8,000, in chunks"].right.value >= 0.8
    assert "word 50, in chunks" not in found


def test_chunks_cover_a_text_and_overlap() -> None:
    text = " ".join(map(str, range(400)))
    parts = chunks(text, 150)
    assert {word for part in parts for word in part.split()} == set(text.split())
    assert all(len(part.split()) <= 150 for part in parts)
    assert parts[1].startswith("100 ")
    assert chunks("a b") == ["a b"]


def test_an_encoder_that_knows_no_other_language_finds_answers_only_in_the_one_it_is_asked_in(
    documents: list[Doc],
) -> None:
    """Words shares no word between languages, so that a question across them is a matter of luck."""
    found = {each.slice: each for each in probe(Words(), cases(documents, n=10, only=["language"]))}
    assert {name.removeprefix("asks in ") for name in found if name.startswith("asks in")} == set(
        LANGUAGES.values()
    ) - {"English"}
    assert np.mean([each.right.value for name, each in found.items() if name.startswith("asks in")]) < 0.4
    assert {"Russian in Latin letters", "Greek in Latin letters", "French without accents"} <= set(found)


class Translated(Words):
    """Knows which shipped question or answer a text is, in whatever language; prefers texts in the query's letters."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        from firth.evaluate.multilingual import _seeds

        self.bias = bias
        self.item = {text: i for i, item in enumerate(_seeds()) for pair in item.values() for text in pair}
        self.tongue = {text: code for item in _seeds() for code, pair in item.items() for text in pair}

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        rows = [
            vector(f"item {self.item.get(text)}") + self.bias * vector(f"in {self.tongue.get(text)}") for text in texts
        ]
        return unit(np.array(rows, np.float32))


def test_an_encoder_for_which_language_weighs_more_than_meaning_fails_the_mixed_corpus(documents: list[Doc]) -> None:
    made = cases(documents, n=10, only=["language"])
    fair = {each.slice: each.right.value for each in probe(Translated(0.0), made)}
    biased = {each.slice: each.right.value for each in probe(Translated(3.0), made)}
    assert fair["mixed corpus, German"] == fair["asks in German"] == fair["among German"] == 1
    assert biased["asks in German"] == biased["among German"] == 1
    assert biased["mixed corpus, German"] == 0


def test_own_documents_are_probed_by_the_language_they_are_in(documents: list[Doc]) -> None:
    russian = [Doc(f"Завод{i} в городе{i} открыл мастер{i} и его бригада{i} прошлым летом.") for i in range(9)]
    made = cases(
        [*documents, *russian], n=6, language=lambda text: "ru" if "Завод" in text else "en", only=["language"]
    )
    own = {case.slice: case for case in made if case.slice.startswith("own")}
    assert set(own) == {"own documents, en", "own documents, ru", "own documents, ru, Latin letters"}
    assert own["own documents, ru, Latin letters"].query.startswith("Zavod")
    assert len(own["own documents, ru"].wrong) == 8


def test_letters_are_written_in_latin_and_marks_left_out() -> None:
    assert latin("Как дела, Ελένη?") == "Kak dela, Eleni?"
    assert latin("Щука съел ёж") == "Shchuka sel yozh"
    assert latin("Größe, 分析, naïve") == "Größe, 分析, naïve"
    assert without_marks("Où est l'été à Köln?") == "Ou est l'ete a Koln?"


def test_near_copies_are_told_apart_by_the_sentence_asked_for_alone(documents: list[Doc]) -> None:
    made = cases(documents, n=15, only=["copy"])
    for case in made:
        if case.slice == "without the sentence":
            assert len(case.wrong[0]) < len(case.right)
    found = {each.slice: each.right.value for each in probe(Words(), made)}
    assert found["without the sentence"] == found["with another sentence"] == 1
    assert found["form letters"] > 0.8


class Hubby(Words):
    """Puts short texts in the middle of everything; gives no number for an empty one."""

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        rows = super().encode(texts)
        rows[[not text for text in texts]] = np.nan
        return rows


def test_empty_texts_must_not_win_and_a_vector_that_is_no_number_is_a_failure(documents: list[Doc]) -> None:
    made = cases(documents, n=8, only=["short"])
    found = {each.slice: each for each in probe(Words(), made)}
    assert set(found) == {"empty texts", "five-word document", "one-word query"}
    assert found["empty texts"].right.value == 1
    assert found["one-word query"].right.value > 0.8
    bad = {each.slice: each for each in probe(Hubby(), made)}["empty texts"]
    assert bad.right.value == 0
    assert bad.worst[0].margin == FARTHEST
