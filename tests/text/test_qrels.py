"""TREC qrels and runs: what is written is read back, and what is wrong is told by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.errors import DataError
from firth.text.qrels import read_qrels, read_run, write_qrels, write_run
from firth.text.read import read

IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
GRADES = st.floats(-10, 10) | st.integers(-2, 4).map(float)


@settings(max_examples=25)  # each writes two files through to the disk
@given(st.dictionaries(IDS, st.dictionaries(IDS, GRADES, min_size=1), min_size=1))
def test_qrels_and_runs_are_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, table: dict) -> None:
    folder = tmp_path_factory.mktemp("trec")
    write_qrels(folder / "x.qrels", table)
    assert read_qrels(folder / "x.qrels") == table
    write_run(folder / "x.run", table)
    assert read_run(folder / "x.run") == table


def test_trec_qrels_are_four_columns(tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text("301 0 FBIS3-1 1\n301\t0\tFBIS3-2\t0\n302 Q0 FBIS3-1 -1\n")
    assert read_qrels(tmp_path / "a.qrels") == {"301": {"FBIS3-1": 1.0, "FBIS3-2": 0.0}, "302": {"FBIS3-1": -1.0}}


def test_a_run_is_written_best_first_with_ties_by_id(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {"q": {"b": 0.5, "c": 1.0, "a": 0.5}}, "mine")
    assert (tmp_path / "a.run").read_text() == "q Q0 c 1 1 mine\nq Q0 a 2 0.5 mine\nq Q0 b 3 0.5 mine\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q Q0 d 1 0.5", "line 2: 5 columns, expected 6: query Q0 document rank score tag"),
        ("q Q0 d 1 high tag", 'line 2: the score is "high", expected a number'),
        ("q Q0 a 2 0.5 tag", 'line 2: document "a" was ranked before for query "q"'),
    ],
)
def test_a_run_line_that_is_wrong_says_why(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "a.run").write_text(f"q Q0 a 1 1 tag\n{line}\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_run(tmp_path / "a.run")
    assert says in str(caught.value)
    assert str(caught.value).endswith("1 more like it")


@pytest.mark.parametrize("id_", ["", "a b", "a\tb"])
def test_an_id_that_the_format_cannot_hold_is_refused_and_nothing_written(tmp_path: Path, id_: str) -> None:
    with pytest.raises(DataError, match="empty or holds white space"):
        write_qrels(tmp_path / "a.qrels", {"q": {"fine": 1.0, id_: 1.0}})
    assert list(tmp_path.iterdir()) == []


def test_a_qrels_file_alone_is_a_domain_of_judgements(tmp_path: Path) -> None:
    (tmp_path / "dev.qrels").write_text("q 0 d 1\n")
    domain = read(tmp_path / "dev.qrels")
    assert domain.judgements == {"dev": {"q": {"d": 1.0}}}
    assert domain.missing == ["documents", "queries", "pairs"]
    with pytest.raises(DataError, match="without the texts of their queries"):
        domain.testset("dev")


def test_a_run_is_told_from_data(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("q Q0 d 1 0.5 tag\n")
    with pytest.raises(DataError, match="is a TREC run: results, not data"):
        read(tmp_path / "a.txt")
