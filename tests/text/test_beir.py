"""BEIR folders and test sets: what is read, what is missing, what is refused and how it is said."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from firth.errors import DataError, StorageError
from firth.text.read import Reading, read
from firth.text.records import Document, Pair
from firth.text.testset import TestSet

Write = Callable[..., Path]


@pytest.fixture
def beir(tmp_path: Path) -> Write:
    """Writes a BEIR folder of three documents; each file can be replaced by other lines, or left out with None."""

    def write(**files: list[str] | bytes | None) -> Path:
        lines = {
            "corpus.jsonl": [f'{{"_id": "d{i}", "title": "T{i}", "text": "text {i}"}}' for i in range(3)],
            "queries.jsonl": ['{"_id": "q0", "text": "first?"}', '{"_id": "q1", "text": "second?"}'],
            "qrels/train.tsv": ["query-id\tcorpus-id\tscore", "q0\td0\t1"],
            "qrels/test.tsv": ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0"],
        }
        folder = tmp_path / "set"
        (folder / "qrels").mkdir(parents=True)
        for name, default in lines.items():
            content = files.get(Path(name).stem, default)
            if content is not None:
                raw = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
                (folder / name).write_bytes(raw)
        return folder

    return write


def error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_beir_folder_gives_documents_queries_judgements_and_pairs(beir: Write) -> None:
    domain = read(beir())
    assert domain.kind == "beir"
    assert list(domain.documents) == [Document(f"d{i}", f"text {i}", f"T{i}") for i in range(3)]
    assert len(domain.documents) == 3
    assert domain.queries == {"q0": "first?", "q1": "second?"}
    assert domain.judgements == {"train": {"q0": {"d0": 1.0}}, "test": {"q1": {"d1": 2.0, "d2": 0.0}}}
    assert list(domain.pairs) == [Pair("first?", "T0 text 0")]
    assert domain.missing == []


def test_documents_and_pairs_can_be_walked_through_again(beir: Write) -> None:
    domain = read(beir())
    assert list(domain.documents) == list(domain.documents)
    assert list(domain.pairs) == list(domain.pairs) != []


def test_gz_files_read_like_plain_ones(beir: Write) -> None:
    folder = beir()
    plain, documents = read(folder), list(read(folder).documents)
    for file in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    packed = read(folder)
    assert list(packed.documents) == documents
    assert packed.judgements == plain.judgements


def test_a_corpus_without_queries_is_read_and_says_what_is_missing(beir: Write) -> None:
    domain = read(beir(queries=None, train=None, test=None))
    assert len(list(domain.documents)) == 3
    assert domain.missing == ["queries", "judgements", "pairs"]


def test_judgements_of_a_test_split_alone_leave_the_pairs_missing(beir: Write) -> None:
    assert read(beir(train=None)).missing == ["pairs"]


def test_a_byte_order_mark_and_carriage_returns_are_taken_off(beir: Write) -> None:
    folder = beir()
    for file in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(folder).judgements["test"] == {"q1": {"d1": 2.0, "d2": 0.0}}
    assert next(iter(read(folder).documents)).text == "text 0"


def test_a_judgement_of_an_absent_document_names_line_id_and_how_many_more(beir: Write) -> None:
    rows = ["query-id\tcorpus-id\tscore", "q1\td1\t1", *(f"q1\tx{i}\t1" for i in range(4))]
    expected = 'qrels/test.tsv, line 3: document "x0" is not in corpus.jsonl (3 documents read); 3 more like it'
    assert error(beir(test=rows)) == expected


def test_a_judgement_of_an_absent_query_names_it(beir: Write) -> None:
    said = error(beir(test=["q9\td1\t1"]))
    assert said == 'qrels/test.tsv, line 1: query "q9" is not among the queries (2 read)'


def test_a_repeated_id_names_both_lines(beir: Write) -> None:
    rows = [json.dumps({"_id": i, "text": "t"}) for i in ("d0", "d1", "d2", "d1", "d1")]
    expected = 'corpus.jsonl, line 4: id "d1" was used before, in line 2; ids must be unique; 1 more like it'
    assert error(beir(corpus=rows)) == expected


def test_a_repeated_query_id_is_refused(beir: Write) -> None:
    rows = ['{"_id": "q0", "text": "a"}', '{"_id": "q1", "text": "a"}', '{"_id": "q0", "text": "b"}']
    assert error(beir(queries=rows)).startswith('queries.jsonl, line 3: query id "q0" was used before')


def test_bytes_that_are_not_utf8_are_named_by_line_and_byte(beir: Write) -> None:
    raw = b'{"_id": "d0", "text": "caf\xc3\xa9"}\n{"_id": "d1", "text": "caf\xe9"}\n'
    said = error(beir(corpus=raw))
    assert said.startswith("corpus.jsonl, line 2: byte 27 of the line (0xe9) is not UTF-8")
    assert "iconv" in said


def test_a_line_that_is_no_json_is_quoted_where_it_breaks(beir: Write) -> None:
    said = error(beir(corpus=['{"_id": "d0", "text": "t"}', '{"_id": "d1", "text": oops}', "{"]))
    assert said.startswith("corpus.jsonl, line 2: not JSON: Expecting value at character 23")
    assert said.endswith("1 more like it")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"_id": "d0"}', 'no "text" among the columns ("_id")'),
        ('{"text": "t"}', 'no "_id" among the columns ("text")'),
        ('{"_id": "d0", "text": null}', '"text" is None, expected a text'),
        ('{"_id": "", "text": "t"}', "\"_id\" is '', expected a text or a whole number"),
        ('{"_id": true, "text": "t"}', '"_id" is True, expected a text or a whole number'),
        ('["d0", "t"]', "a JSON list"),
        ('{"_id": "d0", "text": "a\\u0000b"}', '"text" holds a NUL'),
        ('{"_id": "d0", "text": "a\\ud83d"}', "half of a surrogate pair"),
    ],
)
def test_a_row_that_is_no_document_says_what_is_wrong_with_it(beir: Write, row: str, says: str) -> None:
    said = error(beir(corpus=[row]))
    assert said.startswith("corpus.jsonl, line 1: ")
    assert says in said


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("q1\td1", "2 columns, expected 3"),
        ("q1\td1\thigh", 'the grade is "high", expected a number'),
        ("q1\td1\tnan", 'the grade is "nan", expected a number'),
        ("q1\t0\td1\t1\t5", "5 columns, expected 3"),
    ],
)
def test_a_judgement_that_cannot_be_read_says_why(beir: Write, row: str, says: str) -> None:
    said = error(beir(test=["query-id\tcorpus-id\tscore", "q1\td2\t1", row]))
    assert said.startswith(f"qrels/test.tsv, line 3: {says}")


def test_a_document_judged_twice_must_have_one_grade(beir: Write) -> None:
    assert "was judged 1 for query" in error(beir(test=["q1\td1\t1", "q1\td1\t2"]))


def test_a_document_judged_twice_alike_is_one_judgement(beir: Write) -> None:
    assert read(beir(test=["q1\td1\t1", "q1\td1\t1.0"])).judgements["test"] == {"q1": {"d1": 1.0}}


def test_whole_numbers_are_ids(beir: Write) -> None:
    rows = [json.dumps({"_id": i, "text": "t"}) for i in range(3)]
    domain = read(beir(corpus=rows, train=None, test=["q1\t2\t1"]))
    assert [document.id for document in domain.documents] == ["0", "1", "2"]


def test_bad_records_are_skipped_on_request_and_counted(beir: Write) -> None:
    rows = ['{"_id": "d0", "text": "a"}', "{", '{"_id": "d0", "text": "b"}', '{"_id": "d1", "text": "c"}', "nope"]
    domain = read(beir(corpus=rows, test=["q1\td1\t1", "q1\td7\t1"]), Reading(skip_bad=True))
    assert [document.text for document in domain.documents] == ["a", "c"]
    assert len(domain.documents) == 2
    assert domain.judgements["test"] == {"q1": {"d1": 1.0}}
    assert len(domain.notes) == 3
    assert domain.notes[0].endswith("1 more like it")


def test_an_empty_corpus_is_refused(beir: Write) -> None:
    assert error(beir(corpus=[])).startswith("corpus.jsonl: holds no document")


def test_a_corpus_that_is_there_twice_is_refused(beir: Write) -> None:
    folder = beir()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress((folder / "corpus.jsonl").read_bytes()))
    with pytest.raises(DataError, match=r"both corpus\.jsonl and corpus\.jsonl\.gz are here"):
        read(folder)


def test_a_truncated_archive_is_told_from_a_short_one(beir: Write) -> None:
    folder = beir()
    packed = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(packed[:-12])
    with pytest.raises(DataError, match="damaged or truncated"):
        read(folder)


def test_a_test_set_is_its_split(beir: Write) -> None:
    testset = TestSet.load(beir())
    assert set(testset.documents) == {"d0", "d1", "d2"}
    assert testset.queries == {"q1": "second?"}
    assert testset.judgements == {"q1": {"d1": 2.0, "d2": 0.0}}


def test_a_split_that_is_absent_names_those_that_exist(beir: Write) -> None:
    folder = beir()
    with pytest.raises(DataError, match='no judgements for the split "dev"; there are: "test", "train"'):
        TestSet.load(folder, "dev")


def test_a_saved_test_set_loads_as_it_was(beir: Write, tmp_path: Path) -> None:
    testset = TestSet(
        {"a": Document("a", "ünï\ncode\u2028", "", "x.md", 3, 9), "b c": Document("b c", "", "T")},
        {"q": "?"},
        {"q": {"a": 1.0, "b c": 0.25}},
    )
    testset.save(tmp_path / "out", "dev")
    assert TestSet.load(tmp_path / "out", "dev") == testset
    testset.save(tmp_path / "out", "dev")
    assert TestSet.load(tmp_path / "out", "dev") == testset


def test_saving_over_another_split_or_anything_else_is_refused(beir: Write) -> None:
    folder = beir()
    with pytest.raises(StorageError, match=r"train\.tsv"):
        TestSet.load(folder).save(folder)
    assert read(folder).missing == []


def test_a_test_set_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    sound = TestSet({"a": Document("a", "x")}, {"q": "?"}, {"q": {"a": 1.0}})
    sound.save(tmp_path / "out")
    with pytest.raises(DataError, match="holds a tab or a line end"):
        TestSet({"a\t": Document("a\t", "x")}, {"q": "?"}, {"q": {"a\t": 1.0}}).save(tmp_path / "out")
    assert TestSet.load(tmp_path / "out") == sound
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_domain_describes_itself(beir: Write) -> None:
    folder = beir(train=None)
    assert read(folder).describe().splitlines() == [
        f"beir: {folder}",
        "documents   3",
        "queries     2",
        "judgements  test: 1 queries, 2 judged",
        "pairs       none",
    ]


def test_scifact_reads_as_published(data: Path) -> None:
    domain = read(data / "retrieval" / "scifact")
    assert len(domain.documents) == 5183
    assert {split: len(queries) for split, queries in domain.judgements.items()} == {"train": 809, "test": 300}
    assert sum(1 for _ in domain.pairs) == 919
