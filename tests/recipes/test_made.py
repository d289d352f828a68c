"""Pairs made from bare documents and questions drafted from others never share a file, and too few are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from firth.recipes.domain import Work, read_domain
from firth.recipes.made import Part, made
from firth.text.records import Document

SENTENCES = (
    "The {a} valve regulates the {b} pressure of the boiler.",
    "Operators of a {b} must close the {a} before they leave.",
    "A {a} is a device that stops the flow of {b} at once.",
)


@pytest.fixture
def bare(tmp_path: Path) -> Work:
    """Four hundred short pages of several sections each, and nobody who asks."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for i in range(400):
        a, b = f"part{i % 23}x{i}", f"fluid{i % 17}y{i}"
        text = "\n\n".join(sentence.format(a=a, b=b) for sentence in SENTENCES)
        (folder / f"{i}.md").write_text(f"# How the {a} works with {b}\n\n{text}\n\n## Care of the {a}\n\n{text}\n")
    return read_domain(folder, seed=0)


def test_documents_give_pairs_to_learn_from_and_questions_to_choose_and_measure_by(bare: Work) -> None:
    work = made(bare, most=100, seed=0)
    assert len(work.sets.train) == 100
    assert min(len(work.sets.dev), len(work.sets.test)) >= 20
    assert set(work.queries) == {*work.answers, *work.sets.dev, *work.sets.test}
    assert any(note.startswith("no queries: 100 pairs were made") for note in work.notes)
    assert not any("nothing is tuned" in note for note in work.notes)


def test_no_file_gives_both_a_pair_and_a_question(bare: Work) -> None:
    work = made(bare, most=1_000, seed=0)
    source = {document.id: document.source for document in work.documents}
    learnt = {source[id_] for found in work.sets.train.values() for id_ in found}
    held = {source[id_] for part in (work.sets.dev, work.sets.test) for found in part.values() for id_ in found}
    assert learnt
    assert held
    assert not learnt & held


def test_the_same_seed_makes_the_same_domain_and_another_seed_another(bare: Work) -> None:
    assert made(bare, most=100, seed=0) == made(bare, most=100, seed=0)
    assert made(bare, most=100, seed=0).sets != made(bare, most=100, seed=1).sets


def test_a_made_query_is_answered_by_its_passage(bare: Work) -> None:
    work = made(bare, most=50, seed=0)
    texts = {document.id: document.full for document in work.documents}
    for query, found in work.sets.train.items():
        (source,) = found
        shared = set(work.answers[query].split()) & set(texts[source].split())
        assert len(shared) > 0.8 * len(set(work.answers[query].split()))


def test_too_few_documents_are_left_as_they_are_and_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.txt").write_text(SENTENCES[i % 3].format(a=f"part{i}", b="water") * 2)
    before = read_domain(folder, seed=0)
    work = made(before, most=100, seed=0)
    assert work.sets == before.sets
    assert work.queries == before.queries
    assert "to tune" in work.notes[-1] or "no pairs were made" in work.notes[-1]


def test_each_document_is_on_one_side() -> None:
    documents = [Document(str(i), "text", source=f"{i // 3}.md") for i in range(90)]
    sides = [{document.id for document in Part(documents, 0, held=held)} for held in (False, True)]
    assert sides[0] | sides[1] == {str(i) for i in range(90)}
    assert not sides[0] & sides[1]
    assert 3 <= len(sides[1]) <= 45
