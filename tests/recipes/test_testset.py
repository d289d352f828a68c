"""firth testset: drafts a person can review, a test set of what was kept, and what is wrong with one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from firth.errors import DataError, SettingsError, StorageError
from firth.recipes.testset import Check, Make, Take, check, make, take
from firth.text.testset import TestSet

PLACES = ["harbour", "station", "library", "market", "museum", "theatre"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(30):
        place = f"{PLACES[i % 6]}{i}"
        text = f"# Opening hours of {place}\n\nThe {place} opens at {i % 12 + 1} in the morning, except on holidays. "
        (folder / f"{i}.md").write_text(text + f"Visitors of {place} may leave their bags with keeper{i} at gate{i}.\n")
    return folder


def reviewed(path: Path, verdicts: list[str]) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head, *rows = csv.reader(file)
    for row, verdict in zip(rows, verdicts, strict=False):
        row[0] = verdict
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def test_a_draft_that_was_reviewed_becomes_a_test_set_that_can_be_measured_on(notes: Path, tmp_path: Path) -> None:
    made = make(Make(notes, tmp_path / "review.csv", n=20, quiet=True))
    assert sum(made.kinds.values()) == 20
    reviewed(made.out, ["keep"] * 10 + ["drop"] * 4)
    taken = take(Take(made.out, notes, tmp_path / "set", quiet=True))
    assert (taken.queries, taken.dropped, taken.waiting) == (10, 4, 6)
    testset = TestSet.load(tmp_path / "set")
    assert len(testset.queries) == len(testset.judgements) == 10
    assert len(testset.documents) == taken.documents == 30


def test_a_person_s_verdicts_are_never_overwritten(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("precious")
    with pytest.raises(StorageError, match="verdicts may be in it"):
        make(Make(notes, tmp_path / "review.csv", quiet=True))
    assert (tmp_path / "review.csv").read_text() == "precious"


def test_fewer_documents_than_drafts_is_told(notes: Path, tmp_path: Path) -> None:
    made = make(Make(notes, tmp_path / "review.csv", n=300, quiet=True))
    assert any(note.startswith("30 of 300 could be drafted") for note in made.notes)


def test_a_review_without_any_verdict_is_refused_and_says_what_to_do(notes: Path, tmp_path: Path) -> None:
    make(Make(notes, tmp_path / "review.csv", n=5, quiet=True))
    with pytest.raises(DataError, match="nothing is kept: 0 dropped, 5 without a verdict; write keep, edit or drop"):
        take(Take(tmp_path / "review.csv", notes, tmp_path / "set", quiet=True))
    assert not (tmp_path / "set").exists()


def test_a_review_is_checked_with_its_own_strata(notes: Path, tmp_path: Path) -> None:
    made = make(Make(notes, tmp_path / "review.csv", n=12, quiet=True))
    reviewed(made.out, ["keep"] * 12)
    found = check(Check(made.out, documents=notes, quiet=True))
    assert set(found.slices) == set(made.strata)
    assert {finding.kind for finding in found.findings} >= {"few"}
    assert not found.missed_gates
    assert check(Check(made.out, documents=notes, strict=True, quiet=True)).missed_gates


def test_a_review_cannot_be_checked_without_its_documents(notes: Path, tmp_path: Path) -> None:
    made = make(Make(notes, tmp_path / "review.csv", n=5, quiet=True))
    with pytest.raises(SettingsError, match="--documents"):
        check(Check(made.out, quiet=True))


def test_slices_by_language_are_told_by_their_codes(notes: Path, tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    _small(tmp_path)
    found = check(Check(tmp_path / "small", by="language", quiet=True))
    assert {"de", "en"} <= set(found.slices)
    mixed = [one for one in found.findings if one.kind == "language"]
    assert [one.subject for one in mixed] == ["q3"]
    assert mixed[0].told.startswith("is in de, its answers are in en: Wie viele Tage")


def test_a_public_benchmark_among_the_queries_is_told(data: Path) -> None:
    found = check(Check(data / "retrieval" / "covid_faq", quiet=True))
    assert [one.subject for one in found.findings if one.kind == "public"] == ["COVID FAQ questions"]


def test_an_unknown_slicer_is_refused() -> None:
    with pytest.raises(SettingsError, match="by='mood': expected one of language, length, none"):
        Check(Path("x"), by="mood")


def _small(folder: Path) -> None:
    from firth.text.records import Document

    questions = {
        "q1": "Wie lange muss ich auf die Rückzahlung der Gebühren warten?",
        "q3": "Wie viele Tage dauert es wohl, bis das Geld zurückgezahlt wird?",
        "q2": "How long do I have to wait until the fees are paid back?",
    }
    documents = {"a": Document("a", "Die Rückzahlung dauert drei Tage."), "b": Document("b", "It takes three days.")}
    TestSet(documents, questions, {"q1": {"a": 1.0}, "q2": {"b": 1.0}, "q3": {"b": 1.0}}).save(folder / "small")
