"""Raw text becomes documents of sentences, and a text without sentence ends is refused with what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from firth.errors import DataError, SettingsError
from firth.text.sentences import LINES, read_documents, sentences
from firth.text.vocabulary import train_wordpiece


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We left! Why? So.", ["It rained.", "We left!", "Why?", "So."]),
        ('He said "Go." Then 3 came.', ['He said "Go."', "Then 3 came."]),
        ("Dr. Brown met J. R. Firth, e.g. Monday at 3.50 o'clock.", None),
        ("no capital. follows here", None),
        ("first line\n\n second line ", ["first line", "second line"]),
        ("今日は。明日は！", ["今日は。", "明日は！"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str] | None) -> None:
    assert sentences(text) == ([text] if expected is None else expected)


def test_a_blank_line_ends_a_document(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("One. Two.\nThree.\n\nFour.\n")
    assert read_documents(file) == [["One.", "Two.", "Three."], ["Four."]]


def test_without_blank_lines_so_many_lines_are_a_document(tmp_path: Path) -> None:
    file = tmp_path / "a.txt.gz"
    with gzip.open(file, "wt") as out:
        out.write("a line\n" * (LINES + 1))
    assert list(map(len, read_documents(file))) == [LINES, 1]


def test_each_record_of_a_table_is_a_document(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"id": str(i), "text": f"Text {i}. End."}) + "\n" for i in range(3)))
    assert read_documents(file) == [[f"Text {i}.", "End."] for i in range(3)]


def test_a_folder_of_texts_is_all_its_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"From {name}.\n")
    assert read_documents(tmp_path) == [["From a."], ["From b."]]


def test_a_text_without_sentence_ends_is_refused_with_its_words(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("word " * 5000)
    with pytest.raises(DataError, match=r"no sentence ends: 5,000 words in 1 sentence; end sentences with \. ! or \?"):
        read_documents(file)


def test_a_text_without_words_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n \n")
    with pytest.raises(DataError, match="holds no words"):
        read_documents(file)


def test_a_vocabulary_is_the_same_each_time_and_keeps_its_size() -> None:
    texts = ["the cat sat on the mat", "the dog sat on the cat", "cats and dogs"] * 9
    first, second = (train_wordpiece(texts, size=100) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.size <= 100
    assert [first.id_of(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    assert first.tokens(first.encode(["The cats"]).row(0)) == ["[CLS]", "the", "cats", "[SEP]"]


def test_a_vocabulary_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no words to learn a vocabulary from"):
        train_wordpiece([])
    with pytest.raises(SettingsError, match="vocabulary of 7: expected at least 100"):
        train_wordpiece(["a"], size=7)
