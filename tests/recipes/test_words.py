"""`firth words`: from a text file to vectors, their grades, their neighbours, their picture."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from firth.errors import DataError, SettingsError
from firth.files import read_arrays
from firth.recipes import word_queries
from firth.recipes.words import Train, app, train
from firth.static import WordVectors

TOPICS = [[f"{topic}{i}" for i in range(8)] for topic in ("sea", "law", "sky")]
QUICK = ("--dims", "16", "--min-count", "1", "--epochs", "4", "--rate", "0.05", "--subsample", "0", "--threads", "1")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 lines, most words of each from one of three topics; GloVe learns only from what stands together."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    every = [word for topic in TOPICS for word in topic]
    path.write_text("".join(" ".join(rng.choice(TOPICS[i % 3] * 6 + every, 9)) + "\n" for i in range(3000)))
    return path


@pytest.fixture(scope="module")
def vectors(text: Path) -> Path:
    out = text.parent / "w.safetensors"
    assert words("train", str(text), "-o", str(out), *QUICK).code == 0
    return out


def words(*flags: str, stdin: str = "") -> SimpleNamespace:
    done = CliRunner().invoke(app, list(flags), input=stdin)
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)


def as_a_program(*flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "firth.cli", "words", *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["skipgram", "cbow", "glove"])
def test_a_text_file_becomes_vectors_whose_topics_lie_together(text: Path, tmp_path: Path, model: str) -> None:
    told = words("train", str(text), "-o", str(tmp_path / "w.bin"), "--model", model, *QUICK[:-2], "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert (found["words"], found["dims"], found["tokens"], found["continued"]) == (24, 16, 27_000, 0)
    assert len(found["losses"]) == 4
    assert found["losses"][-1] < found["losses"][0]
    trained = WordVectors.load(tmp_path / "w.bin")
    assert {word[:3] for word, _ in trained.most_similar("sea0", k=5)} == {"sea"}
    assert list(tmp_path.iterdir()) == [tmp_path / "w.bin"]


def test_progress_names_the_loss_the_speed_and_the_time_left(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("firth.progress.LOG_EVERY", 0)
    train(Train([text], tmp_path / "w.bin", min_count=1, epochs=2, threads=1))
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("counting words:") for line in lines)
    first = next(line for line in lines if line.startswith("training:"))
    assert "/s, " in first
    assert "s left) epoch 1 loss " in first


def test_every_setting_of_the_command_reaches_the_training() -> None:
    settings = Train([Path("c")], Path("w.bin"), model="cbow", objective="hierarchical", dims=7, window=3, epochs=2,
                     rate=0.1, negatives=9, subsample=0.5, tokenizer="cased", min_count=2, max_words=11,
                     deterministic=True, seed=5, threads=3)  # fmt: skip
    made = vars(settings.trainer)
    for name in ("objective", "dims", "window", "epochs", "rate", "negatives", "subsample", "tokenizer", "min_count",
                 "max_words", "deterministic", "seed", "threads"):  # fmt: skip
        assert made[name] == getattr(settings, name), name
    assert made["architecture"] == "cbow"
    glove = vars(replace(settings, model="glove", x_max=50.0, window=0, epochs=0, rate=0.0).trainer)
    assert (glove["x_max"], glove["window"], glove["epochs"], glove["rate"]) == (50.0, 10, 15, 0.05)


def test_an_interrupted_training_goes_on_to_the_same_vectors(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firth.static import Word2Vec

    settings = Train([text], tmp_path / "w.safetensors", min_count=1, epochs=4, dims=16, threads=1, quiet=True)
    whole = train(replace(settings, out=tmp_path / "whole.safetensors"))
    epoch = Word2Vec._epoch

    def stopped(self: Word2Vec, training: object, corpus: object, number: int, progress: object) -> object:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, training, corpus, number, progress)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Word2Vec, "_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert settings.state.exists()
    assert not settings.out.exists()
    told = train(settings)
    assert told.continued == 2
    assert told.losses == whole.losses
    assert settings.out.read_bytes() == whole.out.read_bytes()
    assert not settings.state.exists()


@pytest.mark.parametrize("model", ["skipgram", "glove"])
def test_ctrl_c_stops_within_a_second_and_keeps_the_last_finished_epoch(tmp_path: Path, model: str) -> None:
    rng = np.random.default_rng(4)
    names = np.array([f"w{i}" for i in range(30_000)])
    corpus, out = tmp_path / "large.txt", tmp_path / "w.bin"
    corpus.write_text("\n".join(" ".join(names[rng.integers(0, len(names), 1000)]) for _ in range(1000)))
    program = as_a_program("train", str(corpus), "-o", str(out), "--model", model, "--epochs", "1000", "--window", "5")
    state = out.with_name("w.bin.state")
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        assert program.poll() is None, program.stderr.read() if program.stderr else ""
        time.sleep(0.05)
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, told = program.communicate(timeout=60)
    waited = time.monotonic() - asked
    assert program.returncode == 130
    assert "the same command goes on from there" in told
    assert waited < 1 + process_end()
    kind = "glove" if model == "glove" else "word2vec"
    assert read_arrays(state, kind=kind, version=1).meta["epoch"] >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.txt", "w.bin.state"]


def process_end() -> float:
    """Seconds that starting and ending an idle Python takes here: what a loaded machine adds to the second."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return time.monotonic() - start


def test_a_state_of_other_settings_is_refused_and_left_alone(text: Path, tmp_path: Path) -> None:
    settings = Train([text], tmp_path / "w.bin", min_count=1, epochs=1, keep_state=True, quiet=True)
    train(settings)
    before = settings.state.read_bytes()
    with pytest.raises(SettingsError, match="was trained with dims=100, not 16"):
        train(replace(settings, dims=16))
    assert settings.state.read_bytes() == before
    settings.state.write_bytes(b"damaged" + before[7:])
    with pytest.raises(DataError, match=r"w\.bin\.state: not a firth file"):
        train(settings)


def test_a_kept_state_starts_another_training_with_new_words(text: Path, tmp_path: Path) -> None:
    first = Train(
        [text], tmp_path / "first.bin", min_count=1, epochs=3, dims=16, rate=0.05, keep_state=True, quiet=True
    )
    train(first)
    (tmp_path / "more.txt").write_text("sea1 sea2 lagoon sea3 sea4\n" * 400)
    second = replace(first, corpus=[tmp_path / "more.txt"], out=tmp_path / "second.bin", start=first.state)
    assert train(second).words == 25
    assert WordVectors.load(second.out).words[-1] == "lagoon"


def test_phrases_are_joined_before_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(300)]
    (tmp_path / "c.txt").write_text(
        "".join(" ".join([*rng.choice(words, 9), "new", "york"]) + "\n" for _ in range(600))
    )
    train(Train([tmp_path / "c.txt"], tmp_path / "w.bin", phrases=1, phrase_threshold=5, epochs=1, dims=8, quiet=True))
    assert "new_york" in WordVectors.load(tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": "fasttext"}, "expected one of skipgram, cbow, glove"),
        ({"out": Path("w.npy")}, "expected a name that ends in one of .txt"),
        ({"model": "glove", "start": Path("s")}, "start goes on from a word2vec training"),
        ({"phrases": -1}, "expected at least 0"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        Train(**{"corpus": [Path("c")], "out": Path("w.bin"), **changes})  # type: ignore[arg-type]


def test_a_missing_an_empty_and_a_rare_corpus_are_told_apart(tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "w.bin"))
    missing = words("train", str(tmp_path / "none.txt"), *out)
    assert (missing.code, "none.txt: there is no such file" in missing.err) == (4, True)
    (tmp_path / "c.txt").write_text("")
    empty = words("train", str(tmp_path / "c.txt"), *out)
    assert (empty.code, "holds no word" in empty.err) == (1, True)
    (tmp_path / "c.txt").write_text("once twice twice\n")
    assert "no word reaches min_count=5" in words("train", str(tmp_path / "c.txt"), *out).err
    (tmp_path / "c.txt").write_bytes(b"caf\xe9\n")
    latin = words("train", str(tmp_path / "c.txt"), *out)
    assert (latin.code, "byte 3 (0xe9) is not UTF-8" in latin.err) == (4, True)
    assert not (tmp_path / "w.bin").exists()


@pytest.mark.parametrize("model", ["skipgram", "cbow", "glove"])
def test_a_corpus_of_one_word_trains_or_says_that_there_is_nothing_to_learn(tmp_path: Path, model: str) -> None:
    (tmp_path / "c.txt").write_text("alone\n" * 10)
    told = words("train", str(tmp_path / "c.txt"), "-o", str(tmp_path / "w.txt"), "--model", model)
    if model == "glove":
        assert (told.code, "no two words stand together" in told.err) == (1, True)
    else:
        assert told.code == 0, told.err
        assert WordVectors.load(tmp_path / "w.txt").words == ["alone"]


def test_eval_grades_the_files_that_are_given(vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("sea0 sea1 9\nsea0 law1 1\nsky1 sky2 8\nlaw1 none 3\nlaw2 sky2 2\n")
    (tmp_path / "asked.txt").write_text(": topics\nsea0 sea1 law0 law1\nsea0 sea1 none law1\n")
    flags = ("--similarity", str(tmp_path / "mine.txt"), "--analogies", str(tmp_path / "asked.txt"))
    found = json.loads(words("eval", str(vectors), *flags, "--json").out)
    mine = found["similarity"]["mine"]
    assert (mine["covered"], mine["pairs"]) == (4, 5)
    assert mine["spearman"]["value"] > 0.7
    assert mine["spearman"]["low"] <= mine["spearman"]["value"] <= mine["spearman"]["high"]
    total = next(section for section in found["analogies"] if section["name"] == "total")
    assert (total["known"], total["asked"]) == (1, 2)
    shown = words("eval", str(vectors), *flags).out
    assert "4 of 5" in shown
    assert "topics" in shown


def test_the_published_questions_are_shipped_whole(tmp_path: Path) -> None:
    from firth.recipes.word_grades import ANALOGIES, RATED, SHIPPED
    from firth.static.questions import answered, rated

    known = WordVectors(["tiger", "cat", "king", "man"], np.eye(4, dtype=np.float32))
    assert {name: len(rated(known, SHIPPED / file).human) for name, file in RATED.items()} == {
        "WS353": 353, "SimLex-999": 999, "MEN": 3000,
    }  # fmt: skip
    asked = answered(known, SHIPPED / ANALOGIES)
    assert (len(asked.known), len(asked.sections)) == (19_544, 14)


def test_vectors_that_know_none_of_the_questions_are_bad_data(vectors: Path) -> None:
    told = words("eval", str(vectors))
    assert told.code == 4
    assert "0 of 353 pairs have known words" in told.err


def test_similar_words_come_with_their_scores(vectors: Path) -> None:
    assert {line.split()[1][:3] for line in words("similar", str(vectors), "law1", "-k", "4").out.splitlines()} == {
        "law"
    }
    found = json.loads(words("similar", str(vectors), "law1", "law2", "--minus", "sea1", "--json").out)["answers"][0]
    assert found["asked"] == {"near": ["law1", "law2"], "far": ["sea1"]}
    assert len(found["found"]) == 10
    unknown = words("similar", str(vectors), "Law1")
    assert unknown.code == 1
    assert '"Law1" is not among the 24 words; "law1" is' in unknown.err


def test_without_a_word_lines_are_answered_one_by_one(vectors: Path) -> None:
    told = words("similar", str(vectors), "-k", "1", stdin="sea1\n\nnonsense\nlaw1 law2 -sea1\n")
    lines = told.out.splitlines()
    assert [line.split()[-1][:3] for line in (lines[0], lines[2])] == ["sea", "law"]
    assert lines[1] == '"nonsense" is not among the 24 words'


def test_a_terminal_is_prompted_until_an_empty_line(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed = iter(["sea1", "law1 -sea1", ""])
    prompts = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda prompt: prompts.append(prompt) or next(typed))
    answers = list(word_queries.similar(word_queries.Similar(vectors, k=2)).answers)
    assert prompts == ["> "] * 3
    assert [answer.asked.far for answer in answers] == [(), ("sea1",)]
    assert all(len(answer.found) == 2 for answer in answers)

    def ended(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert list(word_queries.similar(word_queries.Similar(vectors)).answers) == []


def test_an_analogy_is_the_nearest_to_b_minus_a_plus_c(vectors: Path) -> None:
    for method in ("add", "mul"):
        told = json.loads(words("analogy", str(vectors), "sea1", "sea2", "law1", "--method", method, "--json").out)
        wanted = WordVectors.load(vectors).most_similar(["sea2", "law1"], ["sea1"], k=5, method=method)
        assert [(each["word"], each["score"]) for each in told["answers"][0]["found"]] == wanted


@pytest.mark.parametrize("name", ["w.bin", "w.txt", "w.vec", "w.safetensors"])
def test_export_writes_every_format_and_can_cut(vectors: Path, tmp_path: Path, name: str) -> None:
    told = json.loads(words("export", str(vectors), "-o", str(tmp_path / name), "--words", "7", "--json").out)
    before, after = WordVectors.load(vectors), WordVectors.load(tmp_path / name)
    assert told["words"] == 7
    assert told["bytes"] == (tmp_path / name).stat().st_size
    assert after.words == before.words[:7]
    np.testing.assert_allclose(after.vectors, before.vectors[:7], rtol=1e-6)


def test_a_damaged_file_is_told_by_its_byte_and_exits_with_4(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"3 2\n" + b"".join(b"w%d " % i + struct.pack("<2f", 1, 2) for i in range(2)))
    for command in (("similar", "w0"), ("export", "-o", str(tmp_path / "x.txt")), ("plot", "w0", "w1")):
        told = words(command[0], str(tmp_path / "w.bin"), *command[1:])
        assert (told.code, "cut off" in told.err) == (4, True), command


def test_a_plot_shows_every_word_in_every_kind_of_picture(vectors: Path, tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the report extra is not installed")
    pictures = [tmp_path / f"map{suffix}" for suffix in (".html", ".svg", ".png")]
    flags = [flag for path in pictures for flag in ("-o", str(path))]
    told = json.loads(words("plot", str(vectors), "sea0", "law0", "sky0", "--near", "2", *flags, "--json").out)
    assert len(told["points"]) == 9
    assert 0 < told["variance_shown"] <= 1
    for path in pictures[:2]:
        assert all(f">{word}<" in path.read_text() for word in told["points"])
    assert "<script" not in pictures[0].read_text()
    assert pictures[2].read_bytes().startswith(b"\x89PNG")


def test_a_plot_places_words_of_one_topic_together(vectors: Path, tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the report extra is not installed")
    chosen = [word for topic in TOPICS for word in topic[:4]]
    told = json.loads(words("plot", str(vectors), *chosen, "-o", str(tmp_path / "m.svg"), "--json").out)
    at = np.array([told["points"][word] for word in chosen])
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    same = np.kron(np.eye(3), np.ones((4, 4))).astype(bool)
    assert apart[same].max() < apart[~same].min()


def test_a_plot_of_too_few_words_or_an_unknown_picture_is_refused(vectors: Path) -> None:
    assert "at least 3 different words, got 2" in words("plot", str(vectors), "sea0", "sea1").err
    assert "expected pictures named" in words("plot", str(vectors), "sea0", "sea1", "-o", "x.gif").err


@pytest.mark.parametrize("name", ["train", "eval", "similar", "analogy", "export", "plot"])
def test_every_command_explains_its_flags(name: str) -> None:
    shown = words(name, "--help").out
    assert "--json" in shown
    assert "--config" in shown


def test_training_and_asking_words_import_no_torch(vectors: Path) -> None:
    code = (
        "import sys; sys.argv = ['firth', 'words', 'similar', sys.argv[1], 'sea0']\n"
        "import firth.cli\n"
        "try: firth.cli.main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(vectors)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a minute's work, several on a machine that does much else
def test_the_demo_on_word_vectors_takes_under_a_minute_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['firth', 'demo', '--base', 'words', '--json', '-o', sys.argv[1]]\n"
        "sys.modules['torch'] = None\n"  # as where it is not installed
        "import firth.cli; firth.cli.main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["searches"]) == 2
    # Processor time, which one idle core needs no longer than: wall time would measure what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
