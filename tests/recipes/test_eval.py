"""firth eval: one model, several with their comparisons counted, unseen queries, power, the whole suite."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import DataError, FormatError, SettingsError
from firth.evaluate.statistics import holm
from firth.recipes import eval as recipe
from firth.recipes import suite
from firth.recipes.eval import Measured, Settings, run, show
from firth.recipes.suite_sets import tasks

Write = Callable[..., Path]
LETTERS = "etaoinshrdlucmfw"


class Letters:
    """Counts letters; `eyes` says how many it sees, so that fewer eyes make a worse model."""

    def __init__(self, eyes: int = 16) -> None:
        self.dims, self.fingerprint, self.asked = 16, f"letters-{eyes}", 0
        self.eyes = eyes

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        self.asked += len(texts)
        rows = np.array([[text.lower().count(c) for c in LETTERS] for text in texts], np.float32)
        rows[:, self.eyes :] = 0
        return unit(rows + 0.01)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Letters]:
    """Three models, by the names that firth eval is given."""
    known = {"good": Letters(16), "worse": Letters(6), "same": Letters(16)}
    monkeypatch.setattr(recipe, "load", lambda name, **_: known[name])
    return known


def measured(*words: Any, **settings: Any) -> Measured:
    done = run(Settings(*words, quiet=True, **settings))
    assert isinstance(done, Measured)
    return done


def test_several_models_are_compared_with_all_comparisons_accounted_for(
    domain: Write, models: dict[str, Letters]
) -> None:
    done = measured("good", domain(), compare=["worse", "same"], measures="ndcg@10,recall@10")
    tree = json.loads(json.dumps(done.as_json(), allow_nan=False))
    assert [each["model"] for each in tree["compare"]] == ["worse", "same"]
    assert tree["comparisons"] == 4
    told = {(each["model"], name): one for each in tree["compare"] for name, one in each["paired"].items()}
    by_hand = holm({" ".join(key): one["p"] for key, one in told.items()})
    assert {" ".join(key): one["p_holm"] for key, one in told.items()} == by_hand
    assert told["worse", "ndcg@10"]["delta"] < 0
    assert told["same", "ndcg@10"]["delta"] == 0
    assert told["worse", "ndcg@10"]["p_holm"] >= 2 * told["worse", "ndcg@10"]["p"]


def test_what_the_queries_can_show_is_told_where_it_matters(domain: Write, models: dict[str, Letters]) -> None:
    data = domain()
    (note,) = measured("good", data, compare=["worse"], matters=0.001).notes
    assert note.startswith("worse: 40 queries show a change of ndcg@10 of 0.")
    assert "to show 0.001 takes" in note
    assert note.endswith("queries")
    (note,) = measured("good", data, compare=["worse"], matters=0.9).notes
    assert note.endswith("(there are enough)")


def test_queries_that_were_trained_on_are_left_out_of_the_clean_scores(
    domain: Write, models: dict[str, Letters], tmp_path: Path
) -> None:
    data = domain()
    rows = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    trained = tmp_path / "trained.csv"
    with trained.open("w", newline="") as file:
        csv.writer(file).writerows([["query", "answer"], *([row["text"].upper(), "something"] for row in rows[80:90])])
    done = measured("good", data, seen=trained)
    assert done.shared is not None
    assert done.shared.counts["normalised"] >= 10
    assert done.clean is not None
    assert len(done.clean.queries) == len(done.shared.clean) <= 30
    assert set(done.as_json()["clean"]) == set(done.as_json()["scores"])
    from rich.console import Console

    shown = StringIO()
    show(done, Console(file=shown, width=160))
    assert f"unseen ({len(done.clean.queries)})" in shown.getvalue()


def test_a_missed_gate_is_told_with_its_numbers(domain: Write, models: dict[str, Letters]) -> None:
    data = domain()
    assert measured("good", data, gate=["recall@10>=1.01"]).missed_gates[0].startswith("recall@10 0.")
    assert not measured("good", data, gate=["recall@10>=0"]).missed_gates


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": -1}, "dims=-1"),
        ({"matters": 3.0}, "matters=3.0"),
        ({"price": ["m=cheap"]}, "price 'm=cheap': expected MODEL=DOLLARS, for instance openai:"),
        ({"price": ["other=1"]}, "price 'other=1': 'other' is not measured"),
        ({"suite": True, "compare": ["x"]}, "--suite has tasks of its own"),
    ],
)
def test_a_setting_out_of_range_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings("m", Path("d"), **settings)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """One small set of each type, in the suite's layout."""
    rng = np.random.default_rng(3)
    words = ["tea", "rain", "hotel", "cloud", "stamp", "mint", "lamp", "west", "farm", "shore"]

    def text() -> str:
        return " ".join(rng.choice(words, 5))

    folder = tmp_path / "sets"
    (folder / "clf" / "banking77").mkdir(parents=True)
    for part, n in (("train", 60), ("test", 40)):
        rows = [f'"{words[i % 3]} {words[i % 3]} {text()}",label{i % 3}' for i in range(n)]
        (folder / "clf" / "banking77" / f"{part}.csv").write_text("text,category\n" + "\n".join(rows) + "\n")
    (folder / "nli").mkdir()
    rows = [f"{('entailment', 'neutral', 'contradiction')[i % 3]}\t{text()}\t{text()}" for i in range(60)]
    (folder / "nli" / "snli_test.tsv").write_text("label\tpremise\thypothesis\n" + "\n".join(rows) + "\n")
    beir = folder / "retrieval" / "scifact"
    (beir / "qrels").mkdir(parents=True)
    documents = [text() + f" {i}" for i in range(30)]
    for name, made in (("corpus", documents), ("queries", documents[:12])):
        lines = "".join(
            json.dumps({"_id": f"{name[0]}{i}", "title": "", "text": each}) + "\n" for i, each in enumerate(made)
        )
        (beir / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (beir / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\tc{i}\t1\n" for i in range(12))
    )
    (folder / "sts").mkdir()
    (folder / "sts" / "stsb-en-dev.csv").write_text("".join(f"{text()},{text()},{i % 6}\n" for i in range(30)))
    (folder / "bitext_tatoeba").mkdir()
    lines = [text() + f" {LETTERS[i % 16] * (i + 1)}" for i in range(20)]
    for language in ("deu", "eng"):
        (folder / "bitext_tatoeba" / f"tatoeba.deu-eng.{language}").write_text("\n".join(lines) + "\n")
    captions = folder / "pairs_licence_unstated" / "multi30k_captions"
    captions.mkdir(parents=True)
    for i in range(1, 6):
        lines = [f"{words[j % 10]} {LETTERS[j % 16] * 3} {text()}" for j in range(12)]
        (captions / f"test_2016.{i}.en.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


KINDS = {"classification", "clustering", "pair classification", "retrieval", "re-ranking", "STS", "bitext mining",
         "summarization"}  # fmt: skip


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clustering draws 16,384 documents ten times; here some hundred are enough."""
    from firth.evaluate.tasks import clustering
    from firth.recipes import suite_sets

    monkeypatch.setattr(
        suite_sets, "clustering", lambda rows, labels: clustering(rows, labels, experiments=2, documents=100)
    )


@pytest.mark.usefixtures("brisk")
def test_the_suite_has_all_eight_task_types_and_a_second_run_encodes_nothing(
    sets: Path, models: dict[str, Letters], tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    done = run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    assert isinstance(done, suite.Suite)
    assert {row.kind for row in done.rows} == KINDS
    values = {row.kind: row.score for row in done.rows}
    assert values["bitext mining"].value == 1
    assert values["retrieval"].interval.n == 12
    assert values["STS"].interval.n == 30
    asked = models["good"].asked
    again = run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    assert models["good"].asked == asked
    assert again.as_json() == done.as_json()
    from rich.console import Console

    shown = StringIO()
    show(done, Console(file=shown, width=140))
    for kind in KINDS:
        assert kind in shown.getvalue()


@pytest.mark.usefixtures("brisk")
def test_an_interrupted_suite_goes_on_to_the_same_end(
    sets: Path, models: dict[str, Letters], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    whole = run(Settings("good", sets, suite=True, cache=tmp_path / "whole", quiet=True)).as_json()

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("firth.recipes.suite_sets.sts", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    asked = models["good"].asked
    resumed = run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True)).as_json()
    assert models["good"].asked - asked < 200
    for before, after in zip(whole["tasks"], resumed["tasks"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}


@pytest.mark.usefixtures("brisk")
def test_a_changed_file_is_scored_again_and_only_that(sets: Path, models: dict[str, Letters], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    asked = models["good"].asked
    with (sets / "sts" / "stsb-en-dev.csv").open("a") as file:
        file.write("entirely new words,and others still,3\n")
    done = run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    assert models["good"].asked == asked + 2
    assert isinstance(done, suite.Suite)
    assert next(row for row in done.rows if row.kind == "STS").score.interval.n == 31


def test_sets_that_are_not_there_are_left_out_and_none_at_all_is_an_error(
    sets: Path, models: dict[str, Letters], tmp_path: Path
) -> None:
    for name in ("clf", "pairs_licence_unstated", "retrieval", "nli"):
        (sets / name).rename(tmp_path / name)
    done = run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    assert isinstance(done, suite.Suite)
    assert {row.kind for row in done.rows} == {"STS", "bitext mining"}
    assert done.notes[0].startswith("2 of 8 task types")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none of the suite's sets is here"):
        run(Settings("good", tmp_path / "empty", suite=True, cache=tmp_path / "cache", quiet=True))


def test_a_damaged_set_is_named(sets: Path, models: dict[str, Letters], tmp_path: Path) -> None:
    (sets / "nli" / "snli_test.tsv").write_text("label\tpremise\thypothesis\nentailment\tonly one\n")
    task = next(task for task in tasks(sets) if task.name == "SNLI")
    with pytest.raises(DataError, match=r"snli_test\.tsv, line 2: expected label, premise and hypothesis"):
        task.run(models["good"])
    (sets / "bitext_tatoeba" / "tatoeba.deu-eng.deu").write_text("one\n")
    task = next(task for task in tasks(sets) if task.kind == "bitext mining")
    with pytest.raises(DataError, match=r"1 lines where tatoeba\.deu-eng\.eng has 20"):
        task.run(models["good"])


@pytest.mark.usefixtures("brisk")
def test_a_damaged_remembered_score_is_named(sets: Path, models: dict[str, Letters], tmp_path: Path) -> None:
    for name in ("clf", "pairs_licence_unstated", "retrieval", "nli", "bitext_tatoeba"):
        (sets / name).rename(tmp_path / name)
    run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))
    (path,) = (tmp_path / "cache").rglob("scores/*.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "interval": 3}))
    with pytest.raises(FormatError, match="not a remembered score"):
        run(Settings("good", sets, suite=True, cache=tmp_path / "cache", quiet=True))


def test_the_real_sets_are_found(data: Path) -> None:
    kinds = [task.kind for task in tasks(data)]
    assert set(kinds) == KINDS
    assert kinds.count("STS") == 11
    assert kinds.count("bitext mining") == 20
    assert kinds.count("retrieval") == 4
