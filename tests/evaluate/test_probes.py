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
from firth.evaluate.probes import MARKS, Case, cases, probe


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
