"""The commands over bare vectors: what codecs and settings buy, and indexes that come and go."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from firth.arrays import Vectors, unit
from firth.errors import DataError, SettingsError
from firth.index import HNSW, Flat, foreign, load
from firth.recipes import compress, index, index_tune
from firth.recipes.vectors import read_vectors, trial


@pytest.fixture(scope="module")
def rows() -> Vectors:
    rng = np.random.default_rng(0)
    return unit((rng.normal(size=(20, 32))[rng.integers(0, 20, 1500)] + 0.7 * rng.normal(size=(1500, 32))).astype("f4"))


@pytest.fixture
def file(rows: Vectors, tmp_path: Path) -> Path:
    foreign.write_rows(tmp_path / "rows.fvecs", rows)
    return tmp_path / "rows.fvecs"


def firth_index(*words: object) -> SimpleNamespace:
    done = CliRunner().invoke(index.app, [str(word) for word in words])
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)


def shown(show: Any, result: Any) -> str:
    text = io.StringIO()
    show(result, Console(width=200, file=text))
    return text.getvalue()


def test_every_codec_is_measured_and_drawn(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    found = compress.run(compress.Settings(file, out=tmp_path / "codecs.html", threads=1, quiet=True))
    assert isinstance(found, compress.Table)
    by_name = {row.codec: row for row in found.measured}
    assert {"sq8", "sq4", "pq4", "pq8x4", "binary", "prefix16", "prefix16+sq8"} <= set(by_name)
    assert by_name["sq8"].recall > 0.95
    assert by_name["sq8"].bytes_per_vector == 32
    assert by_name["binary"].factor == 32
    assert all(row.rescored >= row.recall - 1e-9 for row in found.measured)
    assert all(0 < row.recall <= 1 and row.queries_per_second > 0 for row in found.measured)
    sizes = [row.bytes_per_vector for row in found.measured]
    assert sizes == sorted(sizes, reverse=True)
    page = (tmp_path / "codecs.html").read_text()
    assert "<svg" in page
    assert "prefix16+sq8" in page
    assert "prefix16+sq8" in shown(compress.show, found)
    assert json.loads(json.dumps(found.as_json()))["measured"][0]["codec"]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_pictures_of_other_kinds_are_whole_files(file: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("vl_convert")
    out = tmp_path / f"tune.{kind}"
    found = index_tune.tune(index_tune.Settings(file, recall=0.9, out=out, threads=1, quiet=True))
    assert out.read_bytes()[:4] == (b"<svg" if kind == "svg" else b"\x89PNG")
    assert found.chosen.recall >= 0.9
    assert {point.settings["m"] for point in found.points} == set(index_tune.LINKS)
    assert found.missed_gates == ()
    assert f"--m {found.chosen.settings['m']}" in shown(index_tune.show, found)


def test_a_recall_that_is_not_reached_is_a_missed_gate(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_tune, "overlap", lambda *_: 0.5)
    found = index_tune.tune(index_tune.Settings(file, threads=1, quiet=True))
    assert found.missed_gates == ("recall 0.99 was not reached; the best is 0.5000",)


def test_a_picture_of_an_unknown_kind_is_refused_before_any_work(file: Path) -> None:
    with pytest.raises(SettingsError, match="a picture ends in"):
        compress.run(compress.Settings(file, out=Path("codecs.bmp"), quiet=True))


def test_codes_are_written_and_searched(file: Path, rows: Vectors, tmp_path: Path) -> None:
    out = tmp_path / "codes.firth"
    found = compress.run(compress.Settings(file, codec="prefix16+sq8", out=out, quiet=True))
    assert isinstance(found, compress.Written)
    assert (found.vectors, found.bytes_per_vector, found.factor) == (1500, 16, 8)
    held = load(out)
    assert isinstance(held, Flat)
    assert (held.search(rows[:50], 1).ids[:, 0] == np.arange(50)).mean() > 0.9
    assert json.loads(firth_index("inspect", out, "--json").out)["vectors"] == 1500


def test_codes_without_a_place_are_refused(file: Path) -> None:
    with pytest.raises(SettingsError, match="say where with -o"):
        compress.Settings(file, codec="sq8")


def test_too_few_vectors_are_refused_by_number(tmp_path: Path, rows: Vectors) -> None:
    foreign.write_rows(tmp_path / "few.npy", rows[:20])
    with pytest.raises(DataError, match="20 vectors are too few"):
        compress.run(compress.Settings(tmp_path / "few.npy", quiet=True))


def test_held_out_rows_are_not_searched_and_a_sample_is_told(file: Path, rows: Vectors) -> None:
    on = trial(file, None, most=500, most_queries=50, seed=0)
    assert (len(on.rows), len(on.queries)) == (500, 150)
    assert len(on.notes) == 2
    assert not {row.tobytes() for row in on.queries} & {row.tobytes() for row in on.rows}


def test_an_index_is_built_searched_exported_and_imported(file: Path, rows: Vectors, tmp_path: Path) -> None:
    ours, theirs, back = tmp_path / "x.firth", tmp_path / "x.faiss", tmp_path / "y.firth"
    assert firth_index("build", file, "-o", ours, "--quiet").code == 0
    assert json.loads(firth_index("export", ours, "-o", theirs, "--json").out)["vectors"] == 1500
    moved = json.loads(firth_index("import", theirs, "-o", back, "--metric", "cosine", "--json").out)
    assert (moved["kind"], moved["metric"], moved["dims"]) == ("hnsw", "cosine", 32)
    answers = [json.loads(firth_index("search", path, file, "-k", 3, "--json").out)["keys"] for path in (ours, back)]
    assert answers[0] == answers[1]
    assert [row[0] for row in answers[0]] == list(range(1500))


def test_string_keys_are_written_beside_the_export(rows: Vectors, tmp_path: Path) -> None:
    HNSW.build(rows[:50], keys=[f"doc-{i}" for i in range(50)]).save(tmp_path / "x")
    done = firth_index("export", tmp_path / "x", "-o", tmp_path / "x.hnswlib", "--json")
    keys = json.loads(Path(json.loads(done.out)["keys"]).read_text())
    assert keys == [f"doc-{i}" for i in range(50)]


def test_a_place_without_vectors_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder with manifest"):
        read_vectors(tmp_path / "nothing")
    (tmp_path / "x.txt").write_text("words")
    with pytest.raises(DataError, match="expected vectors in one of"):
        read_vectors(tmp_path / "x.txt")
