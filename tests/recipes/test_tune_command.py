"""firth tune: each of its flags does what it says, what it wrote loads again, and torchrun gives one model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from safetensors.numpy import load_file

import firth
from firth.errors import DataError, SettingsError
from firth.recipes import tune
from firth.sentence.adapter import AdaptedEncoder
from firth.sentence.encoder import SentenceEncoder
from firth.static.average import TextVectors

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
TOPICS = [f"{a}{b}" for a in ("lark", "oak", "iron") for b in "abcdefgh"]

pytestmark = pytest.mark.filterwarnings("ignore::firth.sentence.encoder.CutWarning")


def settings(data: Path, out: Path, model: Path | str, **other: Any) -> tune.Settings:
    return tune.Settings(data, out, model=str(model), quiet=True, **other)


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Sentence pairs with scores, as STS-B has them: no header."""
    rows = [f"the {TOPICS[i % 24]} near,some {TOPICS[(i * i) % 24]} with {TOPICS[i % 24]},{i % 6}" for i in range(60)]
    path = tmp_path / "sts.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two hundred pairs with a negative each."""
    rows = [
        {"anchor": f"{TOPICS[i % 24]} and {TOPICS[(i // 24) % 24]}",
         "positive": f"the {TOPICS[i % 24]} near {TOPICS[(i // 24) % 24]} old {i}",
         "negative": f"some {TOPICS[(i + 7) % 24]} with new {i}"} for i in range(200)
    ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_domain_is_tuned_measured_and_reported(domain: Write, model: Path, tmp_path: Path, scored: Path) -> None:
    out = tmp_path / "tuned"
    learnt = tune.run(
        settings(
            domain(), out, model, epochs=2, rate=1e-3, matryoshka="8,16", mixes="0.5", negatives="refreshed",
            symmetric=True, hard=1, patience=1, temperature=0.1, general=str(scored), most_drop=100.0,
        )
    )  # fmt: skip
    encoder = firth.load(out)
    assert isinstance(encoder, SentenceEncoder)
    told = json.loads(json.dumps(learnt.as_json()))
    if learnt.tuned.epoch:
        assert encoder.trained_dims == (8, 16, 32)
        assert set(told["mixes"]) == {"1", "0.5"}
    assert told["base"]["ndcg@10"]["n"] == told["tuned"]["ndcg@10"]["n"] == 40
    assert told["general"]["base"]["n"] == 60
    assert told["peak_memory_bytes"] > 1e7
    assert told["rows_per_second"] > 0
    assert told["curve"]
    report = json.loads((out / "report.json").read_text())
    assert report["training"]["steps"]
    assert (out / "report.html").is_file()
    assert not list(tmp_path.glob(".tuned.tuning"))


def test_more_forgotten_than_allowed_misses_a_gate(table: Path, model: Path, tmp_path: Path, scored: Path) -> None:
    learnt = tune.run(
        settings(table, tmp_path / "out", model, rate=1e-2, epochs=3, general=str(scored), most_drop=-100.0)
    )
    assert len(learnt.missed_gates) == 1
    assert "points of Spearman were lost on" in learnt.missed_gates[0]


def test_negatives_of_a_table_are_learnt_where_they_are_given(table: Path, model: Path, tmp_path: Path) -> None:
    learnt = tune.run(settings(table, tmp_path / "out", model, loss="triplet", negatives="given", rate=1e-3))
    assert learnt.tuned.rows > 100


def test_a_stream_of_pairs_gives_the_model_of_the_same_pairs_in_memory(
    table: Path, model: Path, tmp_path: Path
) -> None:
    tune.run(settings(table, tmp_path / "streamed", model, stream=True, rate=1e-3))
    from firth.text.read import read

    encoder = firth.load(model)
    firth.tune(
        encoder, list(read(table).pairs), negatives="given",
        settings=tune._how(settings(table, tmp_path, model, rate=1e-3), encoder, None),
    )  # fmt: skip
    np.testing.assert_array_equal(firth.load(tmp_path / "streamed").encode(["oaka"]), encoder.encode(["oaka"]))


def test_scored_sentences_are_tuned_by_their_scores_with_a_dev_part_of_their_own(
    model: Path, tmp_path: Path, scored: Path
) -> None:
    rows = [line.rsplit(",", 1) for line in scored.read_text().splitlines()]
    headed = tmp_path / "train.csv"
    headed.write_text("sentence1,sentence2,score\n" + "".join(f"{left},{int(score) / 5}\n" for left, score in rows))
    learnt = tune.run(settings(headed, tmp_path / "out", model, loss="cosent", epochs=3, rate=1e-3, dev=str(scored)))
    assert learnt.tuned.base is not None
    assert learnt.tuned.best is not None
    assert learnt.tuned.best > learnt.tuned.base


@pytest.mark.parametrize("loss", ["simcse", "tsdae"])
def test_bare_documents_are_learnt_without_pairs(loss: str, domain: Write, model: Path, tmp_path: Path) -> None:
    learnt = tune.run(settings(domain(queries=False), tmp_path / "out", model, loss=loss, rate=1e-3))
    assert learnt.tuned.pairs == 120
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_bare_documents_give_pairs_of_their_own(domain: Write, model: Path, tmp_path: Path) -> None:
    learnt = tune.run(settings(domain(queries=False, n=400), tmp_path / "out", model, rate=1e-3))
    assert learnt.before is not None
    assert any("pairs were made from the documents" in note for note in learnt.notes)


def test_an_adapter_is_learnt_and_loaded_with_its_model(domain: Write, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted"
    learnt = tune.run(settings(domain(), out, model, adapter="4", epochs=3))
    encoder, plain = firth.load(out), firth.load(model)
    assert isinstance(encoder, AdaptedEncoder)
    assert encoder.fingerprint == plain.fingerprint
    np.testing.assert_array_equal(encoder.encode(["oaka"], kind="document"), plain.encode(["oaka"], kind="document"))
    assert learnt.tuned.best is not None
    assert learnt.tuned.base is not None
    assert learnt.tuned.best >= learnt.tuned.base
    with pytest.raises(SettingsError, match="rank"):
        tune.run(settings(domain(), out, model, adapter="wide"))
    with pytest.raises(SettingsError, match="AdaptedEncoder cannot be tuned"):
        firth.tune(encoder, [])


def test_word_vectors_are_tuned_and_kept_in_one_file(domain: Write, tmp_path: Path) -> None:
    out = tmp_path / "words.safetensors"
    learnt = tune.run(settings(domain(), out, "words"))
    assert isinstance(firth.load(out), TextVectors)
    assert learnt.before is not None
    assert (tmp_path / "words.report" / "report.json").is_file()


def test_a_models_token_table_is_a_start_for_word_vectors(domain: Write, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.safetensors"
    learnt = tune.run(settings(domain(), out, model, static=True))
    assert firth.load(out).dims == 32
    assert learnt.tuned.epoch is not None


def test_an_interrupted_command_goes_on_and_leaves_nothing_behind(
    domain: Write, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = domain(), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(tune, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune.run(settings(data, out, model, rate=1e-3))
    assert (tmp_path / ".out.tuning").is_dir()
    rows: list[int] = []
    learn = tune.tune

    def watched(*args: Any, **named: Any) -> Any:
        tuned = learn(
            *args,
            **named,
        )
        rows.append(tuned.rows)
        return tuned

    monkeypatch.setattr(tune, "tune", watched)
    tune.run(settings(data, out, model, rate=1e-3))
    assert rows
    assert not (tmp_path / ".out.tuning").exists()


def test_two_processes_of_torchrun_write_the_model_of_one(table: Path, model: Path, tmp_path: Path) -> None:
    common = {"rate": 1e-3, "negatives": "mined", "epochs": 1}
    tune.run(settings(table, tmp_path / "one", model, **common))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    given |= {"WORLD_SIZE": "2", "MASTER_PORT": str(port)}
    words = ["tune", str(table), "-o", str(tmp_path / "two"), "--model", str(model), "--rate", "1e-3", "--quiet"]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "firth.cli", *words, "--epochs", "1", "--json"],
            env={**given, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    told = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # In bfloat16 rounding decides the first steps' signs; that float64 agrees is in tests/sentence/test_shared.py.
        assert np.abs(two[name] - value).mean() < 1e-3, name
    assert (
        json.loads(told[0][0])["pairs"] == json.loads((tmp_path / "one" / "report.json").read_text())["data"]["pairs"]
    )


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        ({"mixes": "half"}, SettingsError, "mixes: expected numbers divided by commas, got 'half'"),
        ({"mixes": "1.5"}, SettingsError, "mixes: expected shares between 0 and 1"),
        ({"negatives": "easy"}, SettingsError, "negatives: expected one of"),
        ({"general": "nowhere.csv"}, DataError, r"nowhere\.csv: there is no such file of scored sentence pairs"),
        ({"loss": "margin_mse"}, SettingsError, "learns from a teacher, and none was given"),
        ({"loss": "cosent"}, DataError, "needs a score with each pair"),
    ],
)
def test_a_flag_out_of_range_is_named(
    other: dict[str, Any], error: type[Exception], message: str, table: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        tune.run(settings(table, tmp_path / "out", model, **other))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_streamed_is_refused(domain: Write, model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--stream reads one table of pairs"):
        tune.run(settings(domain(), tmp_path / "out", model, stream=True))


def test_faults_in_scored_pairs_are_named_by_line(tmp_path: Path, table: Path, model: Path) -> None:
    bad = tmp_path / "bad.csv"
    for text, message in (
        ("a,b,1\nc,d,much\n", "line 2: score 'much': expected a number"),
        ("a,b\n", "line 1: expected sentence1, sentence2, score, got 2 columns"),
        ("", "holds no scored sentence pairs"),
    ):
        bad.write_text(text)
        with pytest.raises(DataError, match=message):
            tune.run(settings(table, tmp_path / "out", model, general=str(bad)))
