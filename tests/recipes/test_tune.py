"""firth.tune: negatives are mined from the domain, a dev part that overlaps is refused, the better model is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import firth
from firth.arrays import Vectors, unit
from firth.errors import DataError, SettingsError
from firth.recipes import heldout
from firth.recipes.heldout import apart, dev_score
from firth.recipes.negatives import Corpus, with_mined, with_random
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.mine import MineSettings
from firth.sentence.tune import TuneSettings
from firth.text.records import Document, Pair
from firth.text.testset import TestSet
from sentence.conftest import make, tokenizer  # noqa: F401  (fixtures)

SETTINGS = TuneSettings(batch=6, epochs=2, rate=1e-3, precision="float32")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = [Pair(f"query {LETTERS[i]}", f"the {LETTERS[i + 1]} ran") for i in range(12)]
TEXTS = [f"a {LETTERS[i]} sat" for i in range(20)]


class Letters:
    """An encoder of letter counts: near is what shares letters."""

    dims, fingerprint = 26, "letters"

    def encode(self, texts: Sequence[str], **_: object) -> Vectors:
        return unit(np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32))


def held_out(answer: str = "under a mat", query: str = "where") -> TestSet:
    documents = {"1": Document("1", answer), "2": Document("2", "on a tree")}
    return TestSet(documents, {"q": query}, {"q": {"1": 1.0}})


@pytest.mark.parametrize("source", ["mined", "refreshed", "random", "given"])
def test_the_pairs_are_learnt_whatever_the_negatives(make: Callable[..., SentenceEncoder], source: str) -> None:  # noqa: F811
    encoder = make()
    lines: list[str] = []
    mining = MineSettings(negatives=2, relative=None)
    tuned = firth.tune(
        encoder, PAIRS, documents=TEXTS, negatives=source, settings=SETTINGS, mining=mining, say=lines.append
    )
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0]
    accounts = [line for line in lines if "negatives for 12 queries" in line]
    assert len(accounts) == {"mined": 1, "refreshed": 2}.get(source, 0)


def test_refreshed_negatives_are_those_of_the_encoder_as_it_is(make: Callable[..., SentenceEncoder]) -> None:  # noqa: F811
    lines: list[str] = []
    settings = replace(SETTINGS, rate=1e-2)
    mining = MineSettings(negatives=2, relative=None)
    firth.tune(make(), PAIRS, negatives="refreshed", settings=settings, mining=mining, say=lines.append)
    positives = [line for line in lines if "positive scores" in line]
    assert len(set(positives)) == 2


def test_negatives_are_near_and_never_an_answer() -> None:
    pairs = [Pair("abc", "abcc"), Pair("abc", "aabc"), Pair("xyz", "xyzz")]
    texts = ("abcc", "aabc", "xyzz", "abd", "qqq", "xyw", "bcd")
    corpus = Corpus(texts, Letters().encode(texts))
    found, account = with_mined(pairs, corpus, Letters(), MineSettings(negatives=2, sampling="top"))
    assert [set(pair.negatives) for pair in found[:2]] == [{"abd", "bcd"}] * 2
    assert found[2].negatives[0] == "xyw"
    assert account.removed["is an answer"] == 3
    assert set(account.spread) == {"positive", "hard", "random"}


def test_a_better_judge_of_pairs_decides_what_is_hard() -> None:
    texts = ("abcc", "abd", "abz", "qqq")
    corpus = Corpus(texts, Letters().encode(texts))

    def judge(queries: Sequence[str], documents: Sequence[str]) -> list[float]:
        assert set(queries) == {"abc"}
        return [{"abcc": 1.0, "abd": 0.99, "abz": 0.5, "qqq": 0.1}[document] for document in documents]

    rules = MineSettings(negatives=1, sampling="top")
    found, account = with_mined([Pair("abc", "abcc")], corpus, Letters(), rules, rerank=judge)
    assert found[0].negatives == ("abz",)
    assert account.removed["too near the answer's score"] == 1


def test_streamed_pairs_are_not_mined_and_texts_are_not_streamed(
    make: Callable[..., SentenceEncoder],  # noqa: F811
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="negatives=mined: streamed pairs are never held together"):
        firth.tune(make(), iter(PAIRS), spill=tmp_path, settings=SETTINGS)
    with pytest.raises(SettingsError, match="only pairs can be streamed"):
        firth.tune(make(), spill=tmp_path, negatives="given", settings=replace(SETTINGS, loss="tsdae"))
    tuned = firth.tune(make(), iter(PAIRS), spill=tmp_path, negatives="given", settings=SETTINGS)
    assert tuned.pairs == len(PAIRS)
    assert (tmp_path / "query.ids").stat().st_size > 0


def test_random_negatives_are_drawn_by_seed_and_are_no_answers() -> None:
    pairs = [Pair("abc", "1"), Pair("abc", "2"), Pair("xyz", "3")]
    texts = ["1", "2", "3", "4"]
    found = with_random(pairs, texts, 50, seed=1)
    assert found == with_random(pairs, texts, 50, seed=1)
    assert set(found[0].negatives) == {"3", "4"}
    assert set(found[2].negatives) == {"1", "2", "4"}


def test_a_dev_part_that_repeats_training_queries_is_refused_with_the_count() -> None:
    with pytest.raises(DataError, match="1 of 1 dev queries are training queries too, the first is 'q'"):
        apart(PAIRS, held_out(query=" QUERY  a"))
    with pytest.raises(DataError, match="1 relevant documents of the dev part answer training pairs too"):
        apart(PAIRS, held_out(answer="the b ran"))
    apart(PAIRS, held_out())


def test_a_dev_part_is_checked_before_anything_is_encoded(make: Callable[..., SentenceEncoder]) -> None:  # noqa: F811
    with pytest.raises(DataError, match="split by document"):
        firth.tune(make(), PAIRS, dev=held_out(answer="the b ran"), settings=SETTINGS)


def test_the_dev_score_is_ndcg_over_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = {str(i): Document(str(i), letters) for i, letters in enumerate(["abc", "abcc", "xyz", "qrs", "kkk"])}
    dev = TestSet(documents, {"q": "abc", "p": "xy"}, {"q": {"1": 1}, "p": {"2": 1}})
    whole = dev_score(dev, Letters())(Letters())
    assert whole == pytest.approx((1 / np.log2(3) + 1) / 2)
    monkeypatch.setattr(heldout, "DEV_POOL", 1)
    seen: list[str] = []

    class Watched(Letters):
        def encode(self, texts: Sequence[str], **settings: object) -> Vectors:
            seen.extend(texts)
            return super().encode(texts, **settings)

    score = dev_score(dev, Letters())
    assert score(Watched()) == whole
    assert seen == ["abc", "abcc", "xyz", "abc", "xy"]


def test_a_source_of_negatives_that_is_not_known_is_refused(make: Callable[..., SentenceEncoder]) -> None:  # noqa: F811
    with pytest.raises(SettingsError, match="negatives: expected one of mined, refreshed, random, given"):
        firth.tune(make(), PAIRS, negatives="easy")


def test_dev_scores_before_and_after_come_back(make: Callable[..., SentenceEncoder]) -> None:  # noqa: F811
    tuned = firth.tune(make(), PAIRS, dev=held_out(), settings=SETTINGS)
    assert tuned.base is not None
    assert tuned.best is not None
    assert tuned.best >= tuned.base
