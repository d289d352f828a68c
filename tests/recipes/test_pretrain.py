"""`firth pretrain`, `fill` and `context` from raw text to models, pictures and groups; bad input is one clear line."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firth import cli
from firth.contextual.elmo import Elmo
from firth.errors import DataError, ModelError, SettingsError
from firth.recipes import build, context, fill, pretrain, tune
from firth.recipes.load import load

ANIMALS = {"cat": "purred", "dog": "barked", "cow": "mooed"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = random.Random(0)
    documents = []
    for _ in range(150):
        animal = drawn.choice(sorted(ANIMALS))
        documents.append(
            "\n".join(f"The {animal} {ANIMALS[animal]} near the {drawn.choice(['river', 'house'])}." for _ in range(6))
        )
    file = tmp_path_factory.mktemp("text") / "animals.txt"
    file.write_text("\n\n".join(documents))
    return file


@pytest.fixture(scope="module")
def bert(text: Path, tmp_path_factory: pytest.TempPathFactory) -> pretrain.Learnt:
    out = tmp_path_factory.mktemp("models") / "bert"
    return pretrain.bert(
        pretrain.Bert(text=text, out=out, size="tiny", vocabulary=200, longest=32, tokens=512, steps=10, quiet=True)
    )


def test_a_bert_with_its_curve_is_written_and_nothing_else_is_left(bert: pretrain.Learnt) -> None:
    there = {path.name for path in bert.out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "curve.json"} <= there
    assert {"curve.svg", "curve.png", "curve.html"} <= there
    assert not bert.out.with_name("bert.training").exists()
    told = json.loads((bert.out / "curve.json").read_text())
    assert told["filled"] >= 0.97  # the last row of so small a batch
    assert set(told["held_out"]) == {"perplexity", "masked_loss", "masked_accuracy", "next_accuracy"}
    assert [point["step"] for point in told["curve"]] == list(range(1, 11))
    assert told["tokens_per_second"] > 0


def test_the_bert_is_an_encoder_that_can_be_tuned(bert: pretrain.Learnt, tmp_path: Path) -> None:
    from firth.recipes.base import find_base, reading_for
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import TuneSettings, tune
    from firth.text.records import Pair

    assert reading_for(find_base(str(bert.out))).chunking.tokens > 100
    encoder = load(bert.out)
    assert isinstance(encoder, SentenceEncoder)
    pairs = [Pair(f"what does the {animal} do", f"it {verb}") for animal, verb in ANIMALS.items()]
    tune(encoder, pairs, settings=TuneSettings(batch=3))
    encoder.save(tmp_path / "tuned")
    assert load(tmp_path / "tuned").encode(["the cat"]).shape == (1, 128)


@pytest.mark.filterwarnings("ignore::firth.sentence.encoder.CutWarning")
def test_the_bert_is_a_base_for_build_and_for_tune(
    bert: pretrain.Learnt, domain: Callable[..., Path], tmp_path: Path
) -> None:
    data = domain()
    built = build.run(build.Settings(data, tmp_path / "built", base=str(bert.out), quiet=True, threads=1, epochs=1))
    report = json.loads((built.out / "report.json").read_text())
    assert report["base"]["ndcg@10"]["n"] == 40
    tuned = tune.run(tune.Settings(data, tmp_path / "tuned", model=str(bert.out), quiet=True, epochs=1))
    assert load(tuned.out).encode(["the cat"]).shape == (1, 128)


def test_a_gap_is_filled_by_the_trained_model_and_not_by_one_without_head(bert: pretrain.Learnt, model: Path) -> None:
    found = fill.run(fill.Settings("The [MASK] barked.", str(bert.out), k=4))
    assert len(found.as_json()["gaps"][0]) == 4
    with pytest.raises(ModelError, match=r"has no masked-word head \(cls\.predictions\.bias\)"):
        fill.run(fill.Settings("The [MASK] barked.", str(model)))


def test_training_goes_on_from_a_base_with_its_vocabulary(bert: pretrain.Learnt, text: Path, tmp_path: Path) -> None:
    again = pretrain.bert(
        pretrain.Bert(text=text, out=tmp_path / "more", base=str(bert.out), longest=32, tokens=512, steps=2, quiet=True)
    )
    assert again.facts["vocabulary"] == bert.facts["vocabulary"]
    first = bert.fitted.curve[0].measures["masked_loss"]
    assert again.fitted.curve[0].measures["masked_loss"] < first - 0.5


def test_an_elmo_is_written_and_loads_as_an_encoder(text: Path, tmp_path: Path) -> None:
    found = pretrain.elmo(pretrain.Elmo(text=text, out=tmp_path / "elmo", streams=4, unroll=10, steps=12, quiet=True))
    assert {"forward_perplexity", "backward_perplexity"} <= set(found.scores)
    assert (tmp_path / "elmo" / "curve.html").exists()
    assert load(tmp_path / "elmo").encode(["The cat purred."]).shape == (1, 256)
    seen = context.run(
        context.Settings("river", text, str(tmp_path / "elmo"), groups=2, most=30, out=tmp_path / "seen", quiet=True)
    )
    assert sum(map(len, seen.groups)) == 30
    assert Elmo.load(tmp_path / "elmo").words[:3] == ("<S>", "</S>", "<UNK>")


def test_a_words_occurrences_are_grouped_and_drawn(bert: pretrain.Learnt, text: Path, tmp_path: Path) -> None:
    settings = context.Settings("near", text, str(bert.out), most=60, out=tmp_path / "near", quiet=True)
    found = context.run(settings)
    assert sum(map(len, found.groups)) == 60
    assert found.there == 900
    assert all("[near]" in line for rows in found.groups for line in rows)
    assert {path.suffix for path in (tmp_path / "near").iterdir()} == {".svg", ".png", ".html"}
    assert "[near] the" in (tmp_path / "near" / "context.html").read_text()
    with pytest.raises(SettingsError, match="layer=9: this model has layers 0 to 2"):
        context.run(context.Settings("near", text, str(bert.out), layer=9, most=5, quiet=True))
    with pytest.raises(DataError, match="'zebra' stands in none of"):
        context.run(context.Settings("zebra", text, str(bert.out), quiet=True))


def test_bad_texts_and_sizes_are_refused_by_name(text: Path, tmp_path: Path) -> None:
    endless, short = tmp_path / "endless.txt", tmp_path / "short.txt"
    endless.write_text("word " * 3000)
    short.write_text("The cat.\n\nThe dog.\nIt barked.")
    with pytest.raises(DataError, match=r"endless\.txt: no sentence ends: 3,000 words"):
        pretrain.bert(pretrain.Bert(text=endless, out=tmp_path / "out", quiet=True))
    with pytest.raises(DataError, match="fewer than one batch of 8,192"):
        pretrain.bert(pretrain.Bert(text=short, out=tmp_path / "out", vocabulary=100, quiet=True))
    with pytest.raises(DataError, match="fewer than one batch of 32 streams of 21"):
        pretrain.elmo(pretrain.Elmo(text=short, out=tmp_path / "out", quiet=True))
    with pytest.raises(SettingsError, match="size='huge': expected one of tiny, mini, small, base"):
        pretrain.bert(pretrain.Bert(text=text, out=tmp_path / "out", size="huge", quiet=True))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from(text: Path, tmp_path: Path) -> None:
    out, training = tmp_path / "out", tmp_path / "out.training"
    words = ["pretrain", "elmo", str(text), "-o", str(out), "--streams", "2", "--unroll", "5", "--epochs"]
    command = [sys.executable, "-m", "firth.cli", *words, "1000", "--checkpoint-seconds", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        for _ in range(1200):
            if (training / "checkpoint").exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        told = run.communicate(timeout=60)[1]
    assert run.returncode == cli.INTERRUPTED
    assert "stopped; what was finished is kept, the same command goes on from there" in told
    assert "Traceback" not in told
    assert not out.exists()
    with pytest.raises(SettingsError, match="belongs to another training"):
        pretrain.elmo(pretrain.Elmo(text=text, out=out, streams=2, unroll=5, quiet=True))
