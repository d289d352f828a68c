"""Run files are scored from their bytes as the same run is from dictionaries; faulty lines are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import DataError
from firth.evaluate.retrieval import MEASURES, measure
from firth.kernels.runs import run_ranks, run_ranks_twin

JUDGED = {"q1": {"b": 2, "z": 1}, "q2": {"é": 1}}
LINES = ["q1 Q0 a 1 0.9 x", "q1 Q0 b 2 0.8 x", "q2 Q0 é 1 7e-1 x", "q9 Q0 a 1 1 x", "q2 Q0 a 2 +0.5 x"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.trec"


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes(end.join(lines).encode())
    return path


def test_a_run_file_scores_as_the_same_run_in_memory(file: Path) -> None:
    run = {"q1": {"a": 0.9, "b": 0.8}, "q2": {"é": 0.7, "a": 0.5}}
    from_file, from_memory = measure(write(file, LINES), JUDGED), measure(run, JUDGED)
    for name in MEASURES:
        np.testing.assert_array_equal(from_file.per_query[name], from_memory.per_query[name])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", " \n\t\n"])
def test_line_ends_and_blank_lines_change_nothing(file: Path, end: str) -> None:
    assert measure(write(file, LINES, end), JUDGED).mean == measure(write(file, LINES), JUDGED).mean


def test_a_query_whose_lines_are_scattered_is_put_together(file: Path) -> None:
    scattered = [LINES[i] for i in (1, 2, 0, 4, 3)]
    assert measure(write(file, scattered), JUDGED).mean == measure(write(file, LINES), JUDGED).mean


@pytest.mark.parametrize("few", [3, 40])
def test_the_ranks_are_those_of_the_twin_at_every_level(level: Any, rng: np.random.Generator, few: int) -> None:
    names = [f"doc-{i}" for i in range(60)] + ["é", "日本語の文書", "x" * 300, "d"]
    lines, pairs = [], []
    for query in range(30):
        ranked = rng.permutation(names)[: int(rng.integers(0, 60))]
        lines += [f"query-{query} Q0 {name} 0 {rng.integers(0, 9) / 8} tag" for name in ranked]
        pairs += [(query, name) for name in rng.permutation(names)[:few].tolist()]
    text = np.frombuffer("\n".join(rng.permutation(lines)).encode(), np.uint8)
    queries, documents = [f"query-{i}" for i in range(30)], [name for _, name in pairs]
    owner = np.array([query for query, _ in pairs])
    rank, counts, fault, _ = run_ranks(text, queries, documents, owner, module=level)
    expected_rank, expected_counts = run_ranks_twin(text, queries, documents, owner)
    assert fault == ""
    np.testing.assert_array_equal(rank, expected_rank)
    np.testing.assert_array_equal(counts, expected_counts)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("q1 Q0 c 3 0.7", r"line 3: expected 6 columns, query Q0 document rank score tag, got: 'q1 Q0 c 3 0.7'"),
        ("q1 Q0 c 3 0.7 x y", "line 3: expected 6 columns"),
        ("q1 Q0 c 3 much x", "line 3: the score is not a number: 'q1 Q0 c 3 much x'"),
        ("q1 Q0 c 3 1_0 x", "line 3: the score is not a number"),
        ("q1 Q0 c 3 nan x", "line 3: the score is not a finite float32 number"),
        ("q1 Q0 c 3 -inf x", "line 3: the score is not a finite float32 number"),
        ("q1 Q0 c 3 1e400 x", "line 3: the score is not a finite float32 number"),
        ("q1 Q0 a 3 0.7 x", "line 3: this document was ranked for this query before: 'q1 Q0 a 3 0.7 x'"),
    ],
)
def test_a_faulty_line_is_named_with_what_it_holds(file: Path, bad: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        measure(write(file, [*LINES[:2], bad, *LINES[2:]]), JUDGED)
    assert str(caught.value).startswith(str(file))
    assert caught.value.exit_code == 4


def test_a_score_too_small_for_a_float_is_zero(file: Path) -> None:
    lines = ["q1 Q0 a 1 0.5 x", "q1 Q0 b 2 1e-400 x", "q1 Q0 c 3 -0.1 x"]
    assert measure(write(file, lines), {"q1": {"b": 1}}, ["mrr"]).mean["mrr"] == 0.5


@pytest.mark.parametrize("lines", [[], [""], ["q7 Q0 a 1 0.5 x"]])
def test_a_file_without_a_judged_query_is_an_error(file: Path, lines: list[str]) -> None:
    shown = "'q7'" if any(lines) else "none"
    with pytest.raises(
        DataError, match=f"no judged query is in the ranking: judged are 'q1', 'q2', ranked are {shown}"
    ):
        measure(write(file, lines), JUDGED)


def test_a_judged_query_that_the_file_lacks_scores_zero(file: Path) -> None:
    scores = measure(write(file, LINES[:2]), JUDGED, ["hit@5"])
    assert scores.absent == ("q2",)
    assert scores.per_query["hit@5"].tolist() == [1, 0]


def test_pairs_out_of_the_order_of_their_queries_are_refused(level: Any) -> None:
    text = np.frombuffer(b"a Q0 d 1 1 x", np.uint8)
    with pytest.raises(ValueError, match="in order of their queries"):
        run_ranks(text, ["a", "b"], ["d", "d"], np.array([1, 0]), module=level)
    with pytest.raises(ValueError, match="in order of their queries"):
        run_ranks(text, ["a"], ["d"], np.array([1]), module=level)


def test_bytes_that_are_no_text_are_a_faulty_line_and_no_crash(file: Path, rng: np.random.Generator) -> None:
    file.write_bytes(rng.integers(0, 256, 5000, np.uint8).tobytes())
    with pytest.raises(DataError, match="line 1: "):
        measure(file, JUDGED)
