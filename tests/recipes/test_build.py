"""firth build: the whole way, what it leaves, and what it does when something is wrong or stops in the middle."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import files
from firth.errors import DataError, FormatError, StorageError
from firth.recipes import build, built, judged, reporting, search, tuning
from firth.recipes.stages import MARK

Write = Callable[..., Path]

pytestmark = pytest.mark.filterwarnings("ignore::firth.sentence.encoder.CutWarning")


def settings(data: Path, out: Path, model: Path, **other: Any) -> build.Settings:
    return build.Settings(data, out, base=str(model), quiet=True, threads=1, **other)


@pytest.fixture
def result(domain: Write, model: Path, tmp_path: Path) -> build.Result:
    return build.run(settings(domain(), tmp_path / "out", model, epochs=1))


def test_the_report_holds_the_keys_that_stay(result: build.Result) -> None:
    report = json.loads((result.out / "report.json").read_text())
    for model in ("base", "tuned") if report["tuned"] else ("base",):
        assert set(report[model]["ndcg@10"]) == {"value", "low", "high", "n"}
        assert report[model]["ndcg@10"]["n"] == 40
    if report["tuned"]:
        assert {"delta", "p"} <= set(report["paired"]["ndcg@10"])
    assert {"dims", "codec", "index", "recall", "bytes_per_vector", "queries_per_second"} <= set(report["chosen"])
    assert report["environment"]["cpu_level"]


def test_the_report_explains_its_scores(result: build.Result) -> None:
    report = json.loads((result.out / "report.json").read_text())
    names = [stage["name"] for stage in report["stages"]]
    assert names[0] == "exact, 32 dimensions"
    assert names[-2].startswith("collection: ")
    assert re.fullmatch(r"collection: filter, \d+ pass", names[-1])
    assert report["stages"][0]["recall"]["value"] == 1
    assert all(0 < point["score"] <= 1 and point["milliseconds"] > 0 for point in report["points"])
    assert report["chosen"]["score"] == pytest.approx(report["stages"][-2]["score"]["value"], abs=0.05)
    assert all(stage["recall"]["value"] >= build.RECALL for stage in report["stages"][-2:])
    assert {each["kind"] for each in report["similarities"]} == {"answer", "hard", "random"}
    assert [each["dims"] for each in report["widths"]][:2] == [16, 32]
    assert report["widths"][1]["score"]["value"] == pytest.approx(report["base"]["ndcg@10"]["value"])
    assert {each["kind"] for each in report["slices"]} <= {"query length", "answer length", "words shared", "language"}
    assert bool(report["atlas"]) == bool(report["tuned"])
    assert (result.out / "report.md").read_text().startswith("### ")


def test_test_queries_that_are_asked_in_training_too_are_told_with_the_scores_of_the_others(
    domain: Write, model: Path, tmp_path: Path
) -> None:
    data = domain()
    rows = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    rows[100]["text"] = rows[0]["text"] = "oaka near oakb and some new oakc"
    rows[0]["text"] += " moona"
    (data / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = build.run(settings(data, tmp_path / "out", model, epochs=0)).report
    (note,) = [note for note in report.notes if "asked in training too" in note]
    assert note.startswith("1 of 40 test queries are nearly asked in training too (1 near); ndcg@10 on the 39 others")


def test_the_chosen_index_keeps_the_recall_that_was_asked_for(result: build.Result) -> None:
    assert result.report.chosen is not None
    assert result.report.chosen.recall >= build.RECALL


def test_what_was_built_answers_a_question_with_the_document_that_names_its_words(result: build.Result) -> None:
    row = json.loads((result.out.parent / "domain" / "corpus.jsonl").read_text().splitlines()[3])
    found = search.run(search.Settings(result.out, row["text"], k=5))
    assert "d3" in [hit.id for hit in found.hits]
    assert found.as_json()["hits"][0]["rank"] == 1


def test_a_built_folder_works_where_it_is_moved_to_without_its_data_and_its_stages(result: build.Result) -> None:
    before = search.run(search.Settings(result.out, "oaka and irona", k=5)).as_json()["hits"]
    shutil.rmtree(result.out / ".build")
    shutil.rmtree(result.out.parent / "domain")
    moved = result.out.rename(result.out.parent / "elsewhere")
    assert search.run(search.Settings(moved, "oaka and irona", k=5)).as_json()["hits"] == before


def test_no_path_of_this_machine_is_in_what_was_built(result: build.Result) -> None:
    place = str(result.out.parent).encode()
    for path in result.out.rglob("*"):
        inside = path.is_file() and ".build" not in path.parts and path.suffix not in (".html", ".json", ".md")
        assert not inside or place not in path.read_bytes(), path


def test_a_second_build_does_nothing_and_reports_the_same(
    result: build.Result, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("was done before")

    for room, name in ((build, "judge"), (build, "sweep"), (tuning, "mined_for"), (built, "fill")):
        monkeypatch.setattr(room, name, forbidden)
    again = build.run(settings(result.out.parent / "domain", result.out, model, epochs=1))
    assert again.report.base == result.report.base
    assert again.report.tuned == result.report.tuned


STOPS = {
    "while encoding the base model": (judged, "encode_shards"),
    "after encoding": (judged, "counted"),
    "while mining": (tuning, "mined_for"),
    "while choosing": (build, "sweep"),
    "while filling the collection": (built, "fill"),
    "while writing the report": (reporting, "assemble"),
    "before the last mark": (built, "finish"),
}


@pytest.mark.parametrize("moment", STOPS)
def test_a_build_stopped_at_any_moment_goes_on_to_the_same_end(
    moment: str, domain: Write, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = domain()
    whole = build.run(settings(data, tmp_path / "whole", model, epochs=1))

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    room, name = STOPS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(room, name, stopped)
        with pytest.raises(KeyboardInterrupt):
            build.run(settings(data, tmp_path / "out", model, epochs=1))
    with pytest.raises(FormatError, match="not finished"):
        search.run(search.Settings(tmp_path / "out", "oaka"))
    resumed = build.run(settings(data, tmp_path / "out", model, epochs=1))
    assert resumed.report.base == whole.report.base
    assert resumed.report.tuned == whole.report.tuned
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_full_disk_is_told_and_costs_nothing_that_was_finished(
    domain: Write, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.fsync, 6

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    data = domain()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="no space left"):
            build.run(settings(data, tmp_path / "out", model, epochs=0))
    assert not list((tmp_path / "out").rglob("*.part"))
    build.run(settings(data, tmp_path / "out", model, epochs=0))


def test_a_corpus_without_queries_is_built_without_tuning_and_says_what_is_missing(
    domain: Write, model: Path, tmp_path: Path
) -> None:
    result = build.run(settings(domain(queries=False), tmp_path / "out", model, pairs=0))
    assert result.report.tuned is None
    assert result.report.base == {}
    assert any(note.startswith("no queries") and "queries.jsonl" in note for note in result.report.notes)
    assert search.run(search.Settings(result.out, "oaka")).hits


def test_a_corpus_without_queries_is_tuned_on_pairs_made_from_it_and_measured_on_drafted_questions(
    domain: Write, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = build.run(settings(domain(queries=False, n=400), out, model, epochs=2))
    assert result.report.base["ndcg@10"].n >= 10
    assert result.report.training is not None
    assert any("pairs were made from the documents to tune on (titles" in note for note in result.report.notes)
    assert any("drafted from held-out documents" in note for note in result.report.notes)
    if result.report.tuned:
        assert result.report.paired is not None
        assert result.report.paired["ndcg@10"].delta >= 0
    again = build.run(settings(tmp_path / "domain", out, model, epochs=2))
    assert again.report.base == result.report.base
    assert again.report.tuned == result.report.tuned


@pytest.mark.parametrize(("delta", "p", "asked", "stays"), [
    (-0.01, 0.4, True, True), (-0.01, 0.01, True, False), (-0.01, 0.4, False, False), (0.0, 1.0, False, True),
])  # fmt: skip
def test_a_tuned_model_that_came_out_worse_is_not_kept(delta: float, p: float, asked: bool, stays: bool) -> None:
    from types import SimpleNamespace as Some

    change = Some(delta=delta, p=p)
    before = Some(scores=Some())
    after = Some(scores=Some(against=lambda *_: {"ndcg@10": change}))
    work = Some(answers={} if asked else {"made 1": "text"}, sets=Some(test={"a": {}, "b": {}}))
    tuned = tuning.Tuned(Path("model"), "", None, {}, ("first",))
    kept = tuning.kept(tuned, before, after, work, 0)  # type: ignore[arg-type]
    assert (kept.model is not None) == stays
    if not stays:
        assert kept.notes[1].startswith("the tuned model came out worse on 2 test queries (ndcg@10 -0.010")


def test_word_vectors_are_tuned_on_the_pairs_too(domain: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = build.run(build.Settings(domain(), out, base="words", quiet=True, threads=1))
    assert result.report.training is not None
    assert (out / "model" / "words.safetensors").is_file()
    if result.report.tuned:
        assert search.run(search.Settings(out, "oaka and irona")).hits


def test_a_folder_of_text_files_is_built(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.txt").write_text(f"larka oak{'abcdefgh'[i % 8]} near the moon{'abcdefgh'[i % 7]}")
    result = build.run(settings(folder, tmp_path / "out", model))
    hits = search.run(search.Settings(result.out, "oakc moonb", k=3)).hits
    assert hits[0].payload is not None
    assert hits[0].payload["source"].endswith(".txt")


def test_a_table_of_pairs_is_split_tuned_and_measured(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    topics = [f"lark{c}" for c in "abcdefgh"] + [f"oak{c}" for c in "abcdefgh"] + [f"wolf{c}" for c in "abcdefgh"]
    rows = ["anchor,positive"]
    rows += [f"{a} and {b},the {a} with some {b} near {c} {i}" for i, (a, b, c) in enumerate(
        rng.choice(topics, 3, replace=False) for _ in range(100))]  # fmt: skip
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(rows) + "\n")
    result = build.run(settings(table, tmp_path / "out", model, epochs=1))
    assert result.report.base["ndcg@10"].n >= 20
    assert any("held out" in note for note in result.report.notes)


def test_a_domain_of_one_document_can_be_searched(domain: Write, model: Path, tmp_path: Path) -> None:
    result = build.run(settings(domain(queries=False, corpus=lambda rows: rows[:1]), tmp_path / "out", model))
    assert [hit.id for hit in search.run(search.Settings(result.out, "anything", k=10)).hits] == ["d0"]


def test_an_empty_folder_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        build.run(settings(tmp_path / "empty", tmp_path / "out", model))


def test_a_judgement_of_an_absent_document_is_named_by_file_and_line(
    domain: Write, model: Path, tmp_path: Path
) -> None:
    data = domain()
    with (data / "qrels" / "train.tsv").open("a") as file:
        file.write("q1\tnowhere\t1\n")
    with pytest.raises(DataError, match=r'train\.tsv, line 82: .*"nowhere"'):
        build.run(settings(data, tmp_path / "out", model))


def test_a_repeated_document_id_is_named_by_file_and_line(domain: Write, model: Path, tmp_path: Path) -> None:
    data = domain(corpus=lambda rows: [*rows, rows[7]])
    with pytest.raises(DataError, match=r'corpus\.jsonl, line 121: .*"d7"'):
        build.run(settings(data, tmp_path / "out", model))


def test_a_damaged_model_is_refused_by_name_when_searched(result: build.Result) -> None:
    weights = result.out / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        search.run(search.Settings(result.out, "oaka"))


def test_a_collection_of_another_model_is_refused(result: build.Result, model: Path, tmp_path: Path) -> None:
    from firth.errors import FirthError

    shutil.rmtree(result.out / "model")
    shutil.copytree(model, result.out / "model")
    config = json.loads((result.out / "model" / "config.json").read_text())
    files.write_json(result.out / "model" / "config.json", config | {"layer_norm_eps": 0.1})
    with pytest.raises(FirthError, match="model"):
        search.run(search.Settings(result.out, "oaka"))


def test_a_build_of_a_newer_layout_is_refused(result: build.Result, model: Path) -> None:
    about = files.read_json(result.out / MARK)
    files.write_json(result.out / MARK, about | {"layout": 2})
    with pytest.raises(FormatError, match="layout 2"):
        search.run(search.Settings(result.out, "oaka"))
    with pytest.raises(FormatError, match="layout 2"):
        build.run(settings(result.out.parent / "domain", result.out, model))
