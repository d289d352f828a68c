"""Drafted test sets: spread, reproducible, reviewed by a person, checked for what would flatter."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from firth.errors import DataError, SettingsError
from firth.evaluate.checks import check_testset
from firth.evaluate.draft import COLUMNS, KINDS, Draft, draft, read_review, write_review


@dataclass(frozen=True)
class Doc:
    id: str
    text: str
    title: str = ""
    source: str = ""

    @property
    def full(self) -> str:
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Small:
    documents: dict[str, Doc]
    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]


def cells(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


SUBJECTS = ["Aspirin", "Insulin", "Vitamin D", "Penicillin", "Heparin", "Warfarin", "Digoxin", "Morphine", "Ketamine"]


@pytest.fixture
def documents() -> list[Doc]:
    """Ninety documents: short and long ones, in two folders."""
    made = []
    for i in range(90):
        subject = SUBJECTS[i % 9]
        text = (
            f"{subject} is a drug that was tested in trial number {i} of the series. It changed marker{i} in patients "
            f"of ward{i}, although nobody had expected that result. The authors of study{i} recommend caution."
        )
        long = (
            " ".join(f"Further finding {j} concerned tissue{j} and site{i}." for j in range(60)) if i % 3 == 0 else ""
        )
        made.append(
            Doc(f"d{i}", f"{text} {long}".strip(), f"{subject} in trial {i} of ward {i}", f"part{i % 2}/file{i}.txt")
        )
    return made


def test_each_draft_is_of_another_document_and_asks_something_else(documents: list[Doc]) -> None:
    drafts = draft(documents, 60)
    assert len(drafts) == 60
    assert len({made.document for made in drafts}) == 60
    assert len({made.query.casefold() for made in drafts}) == 60


def test_drafts_are_spread_over_kinds_lengths_and_sources(documents: list[Doc]) -> None:
    drafts = draft(documents, 40)
    assert {made.kind for made in drafts} == set(KINDS) - {"heading"}
    counts = Counter(made.stratum for made in drafts)
    assert set(counts) == {"short part0", "short part1", "long part0", "long part1"}
    assert max(counts.values()) - min(counts.values()) <= 2


def test_languages_are_strata_where_they_can_be_told(documents: list[Doc]) -> None:
    drafts = draft(documents, 20, language=lambda text: "en" if "Insulin" in text else "xx")
    assert {made.stratum.split()[1] for made in drafts} == {"en", "xx"}


def test_the_same_seed_drafts_the_same_and_another_seed_something_else(documents: list[Doc]) -> None:
    assert draft(documents, 20, seed=1) == draft(documents, 20, seed=1)
    assert draft(documents, 20, seed=1) != draft(documents, 20, seed=2)


def test_each_kind_of_query_is_made_as_described(documents: list[Doc]) -> None:
    by_kind = {made.kind: made for made in draft(documents, 80)}
    assert by_kind["title"].query == by_kind["title"].title
    assert by_kind["question"].query.startswith("what is ")
    assert 4 <= len(by_kind["sentence"].query.split()) <= 14
    assert len(by_kind["keywords"].query.split()) == 5
    words = set(by_kind["keywords"].query.split())
    assert any(word[:4] in ("mark", "ward", "stud", "site", "tiss") for word in words)


def test_a_chunk_below_headings_is_asked_for_by_the_two_innermost() -> None:
    text = "install it with the package manager and start it once before you change its settings please"
    asked = {
        made.query
        for seed in range(40)
        for made in draft([Doc("a", text, "Manual > Setup guide > Linux servers")], 1, seed=seed)
    }
    assert "Linux servers Setup guide" in asked


def test_documents_too_short_to_be_asked_for_are_refused() -> None:
    with pytest.raises(DataError, match="no document has 8 words"):
        draft([Doc("a", "too short")], 5)
    with pytest.raises(SettingsError, match="n=0"):
        draft([Doc("a", "too short")], 0)


def test_a_reviewed_file_comes_back_as_queries_and_judgements(documents: list[Doc], tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    drafts = draft(documents, 4)
    write_review(path, drafts)
    rows = cells(path)
    assert tuple(rows[0]) == COLUMNS
    rows[1][0], rows[2][0], rows[2][1], rows[3][0] = "keep", "EDIT ", "a better question, by a person", "drop"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    found = read_review(path, {document.id: document for document in documents})
    assert found.queries == {"q1": drafts[0].query, "q2": "a better question, by a person"}
    assert found.judgements == {"q1": {drafts[0].document: 1.0}, "q2": {drafts[1].document: 1.0}}
    assert (found.dropped, found.waiting) == (1, 1)


def test_one_query_kept_for_two_documents_has_two_answers(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("verdict,query,document\nkeep,Who pays?,a\nkeep,who pays,b\n")
    found = read_review(path, {"a": 1, "b": 1})
    assert found.queries == {"q1": "Who pays?"}
    assert found.judgements == {"q1": {"a": 1.0, "b": 1.0}}


def test_a_text_that_a_spreadsheet_would_run_is_made_harmless_and_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, [Draft("=cmd|' /C calc'!A0", "-d1", "title", "short", "@title", "+text")])
    row = cells(path)[1]
    assert row[1:3] == ["'=cmd|' /C calc'!A0", "'-d1"]
    path.write_text(path.read_text(encoding="utf-8-sig").replace("\n,", "\nkeep,"))
    found = read_review(path, {"-d1": 1})
    assert found.queries == {"q1": "=cmd|' /C calc'!A0"}
    assert found.judgements == {"q1": {"-d1": 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,document\nx,a\n", "line 1: no column verdict"),
        ("verdict,query,document\nkeep,x,a\nmaybe,y,a\n", "line 3: verdict 'maybe': expected one of keep, edit, drop"),
        ("verdict,query,document\nkeep,?!,a\n", "line 2: a kept query is empty"),
        ("verdict,query,document\nkeep,x,z\n", "line 2: document 'z' is not in the collection"),
        ("verdict,query,document\nkeep,x, y,a\n", "line 2: 4 cells under 3 headings; put quotes around a comma"),
    ],
)
def test_an_unclear_review_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "review.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_review(path, {"a": 1})


def test_a_review_saved_in_another_encoding_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes("verdict,query,document\nkeep,wer zahlt für wen,a\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2: byte .* is not UTF-8; save the sheet as CSV in UTF-8"):
        read_review(path, {"a": 1})


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_review_saved_with_another_delimiter_is_read(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "review.csv"
    path.write_text(mark.join(["verdict", "query", "document", "stratum"]) + "\n" + mark.join("kxas") + "\n")
    path.write_text(path.read_text().replace(f"k{mark}", f"keep{mark}"))
    found = read_review(path, {"a": 1})
    assert found.judgements == {"q1": {"a": 1.0}}
    assert found.slices == {"q1": "s"}


def test_faults_of_a_test_set_are_found() -> None:
    long = " ".join(f"word{i}" for i in range(40))
    documents = {
        "a": Doc("a", f"The price of steel rose in spring. {long}"),
        "b": Doc("b", f"The price of steel rose in spring. {long} again"),
        "c": Doc("c", "Something else entirely stands here for nobody to read."),
    }
    queries = {"q1": "price of steel rose in spring", "q2": "Price of steel rose in spring!", "q3": "who reads"}
    testset = Small(documents, queries, {"q1": {"a": 1}, "q2": {"a": 1, "b": 1}, "q3": {"c": 1}})
    found = [(finding.kind, finding.subject) for finding in check_testset(testset, slices={"q3": "short"})]
    assert ("repeated", "q1") in found
    assert ("quotes", "q1") in found
    assert ("quotes", "q3") not in found
    assert ("unjudged", "q1") not in found  # its copy is judged for another query, so it is a known answer
    assert ("few", "short") in found
    assert ("few", "all queries") in found


def test_an_unjudged_copy_of_an_answer_is_told() -> None:
    long = " ".join(f"word{i}" for i in range(40))
    documents = {"a": Doc("a", f"Steel. {long}"), "b": Doc("b", f"Steel. {long} again")}
    (finding, few) = check_testset(Small(documents, {"q1": "what about steel"}, {"q1": {"a": 1}}))
    assert (finding.kind, finding.subject) == ("unjudged", "q1")
    assert "'b' is 97 % like its answer 'a' and is not judged" in finding.told
    assert few.kind == "few"
