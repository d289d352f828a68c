"""JSONL, JSON, CSV, TSV and Parquet: what columns mean, what pairs make, and what is said of rows that are wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import DataError
from firth.text.fields import shape
from firth.text.read import Reading, read
from firth.text.records import Document, Pair
from firth.text.testset import TestSet


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def error(path: Path, settings: Reading | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(path, settings)
    return str(caught.value).removeprefix(f"{path.parent}/")


def test_a_table_of_documents_is_a_corpus(tmp_path: Path) -> None:
    file = csv(tmp_path / "docs.csv", 'id,title,text\n1,"One, two","say ""hi""\nthere"\n2,,plain\n')
    domain = read(file)
    assert domain.kind == "csv"
    assert list(domain.documents) == [Document("1", 'say "hi"\nthere', "One, two"), Document("2", "plain")]
    assert domain.missing == ["queries", "judgements", "pairs"]


def test_documents_without_ids_are_numbered_by_their_lines(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "docs.jsonl", [{"text": "a"}, {"text": "b"}])
    assert [document.id for document in read(file).documents] == ["docs.jsonl#1", "docs.jsonl#2"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_delimiter_of_a_csv_file_is_that_of_its_header(tmp_path: Path, mark: str) -> None:
    file = csv(tmp_path / "docs.csv", f"id{mark}text\n1{mark}a, b\n")
    assert list(read(file).documents) == [Document("1", "a, b")]


def test_a_quote_in_tsv_is_a_character_unless_the_cell_is_quoted(tmp_path: Path) -> None:
    file = csv(tmp_path / "docs.tsv", 'id\ttext\n1\t"Hi" he said\n2\t"all ""of"" it"\n3\t5" disk\n')
    assert [document.text for document in read(file).documents] == ['"Hi" he said', 'all "of" it', '5" disk']


ONE = Pair("q", "p", ("n",))


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"anchor": "q", "positive": "p"}, Pair("q", "p")),
        ({"anchor": "q", "positive": "p", "negative": "n"}, ONE),
        ({"anchor": "q", "positive": "p", "negative_2": "m", "negative_1": "n"}, Pair("q", "p", ("n", "m"))),
        ({"negative_10": "z", "negative_9": "y", "anchor": "q", "positive": "p"}, Pair("q", "p", ("y", "z"))),
        ({"query": "q", "answer": "p"}, Pair("q", "p")),
        ({"Question": "q", "Answer": "p"}, Pair("q", "p")),
        ({"query": "q", "pos": ["p"], "neg": ["n"]}, ONE),
        ({"query": "q", "pos": ["p"], "neg": []}, Pair("q", "p")),
        ({"query": "q", "passage": "p", "label": 0}, Pair("q", "p", (), 0.0)),
        ({"sentence1": "q", "sentence2": "p", "score": 0.5}, Pair("q", "p", (), 0.5)),
        ({"premise": "q", "hypothesis": "p", "label": "neutral"}, Pair("q", "p", (), 0.5)),
        (["q", "p"], Pair("q", "p")),
        (["q", "p", "n"], ONE),
    ],
)
def test_the_names_of_columns_make_pairs(tmp_path: Path, row: Any, pair: Pair) -> None:
    assert list(read(jsonl(tmp_path / "x.jsonl", [row])).pairs) == [pair]


def test_each_positive_of_a_list_makes_a_pair(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "x.jsonl", [{"query": "q", "pos": ["a", "b"], "neg": ["n", "m"]}])
    assert list(read(file).pairs) == [Pair("q", "a", ("n", "m")), Pair("q", "b", ("n", "m"))]


def test_pairs_alone_make_documents_queries_and_judgements(tmp_path: Path) -> None:
    rows = [
        {"anchor": "q1", "positive": "a", "negative": "b"},
        {"anchor": "q1", "positive": "b", "negative": "c"},
        {"anchor": "q2", "positive": "a", "negative": "c"},
    ]
    domain = read(jsonl(tmp_path / "x.jsonl", rows))
    texts = {document.id: document.text for document in domain.documents}
    assert sorted(texts.values()) == ["a", "b", "c"]
    assert len(domain.documents) == 3
    judged = {
        (domain.queries[query], texts[document]): grade
        for query, grades in domain.judgements["train"].items()
        for document, grade in grades.items()
    }
    assert judged == {("q1", "a"): 1.0, ("q1", "b"): 1.0, ("q2", "a"): 1.0}
    assert domain.missing == []


def test_a_pair_scored_zero_is_judged_not_relevant(tmp_path: Path) -> None:
    domain = read(jsonl(tmp_path / "x.jsonl", [{"query": "q", "passage": "p", "label": 0}]))
    (grades,) = domain.judgements["train"].values()
    assert list(grades.values()) == [0.0]


def test_scored_sentences_are_pairs_and_no_search(tmp_path: Path) -> None:
    domain = read(csv(tmp_path / "sts-dev.csv", "A man.,A boy.,2.5\nOne.,Two.,0\n"))
    assert list(domain.pairs) == [Pair("A man.", "A boy.", (), 2.5), Pair("One.", "Two.", (), 0.0)]
    assert domain.missing == ["documents", "queries", "judgements"]
    assert "no header" in domain.notes[0]


def test_files_named_for_their_splits_keep_them_apart(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", [{"query": "q", "answer": "a"}])
    jsonl(tmp_path / "qa-validation.jsonl", [{"query": "r", "answer": "b"}])
    jsonl(tmp_path / "test.jsonl", [{"query": "s", "answer": "a"}])
    domain = read(tmp_path)
    assert list(domain.pairs) == [Pair("q", "a")]
    assert {split: len(grades) for split, grades in domain.judgements.items()} == {"train": 1, "dev": 1, "test": 1}
    assert TestSet.load(tmp_path).queries.keys() == domain.judgements["test"].keys()
    assert len(TestSet.load(tmp_path).documents) == 2


def test_a_corpus_with_queries_and_judgements_in_tables_is_one_domain(tmp_path: Path) -> None:
    csv(tmp_path / "corpus.csv", "id,text\nd1,one\nd2,two\n")
    csv(tmp_path / "queries.csv", "id,text\nq1,eins\n")
    csv(tmp_path / "train.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    domain = read(tmp_path)
    assert domain.judgements == {"train": {"q1": {"d2": 1.0}}}
    assert list(domain.pairs) == [Pair("eins", "two")]
    csv(tmp_path / "train.tsv", "query-id\tcorpus-id\tscore\nq1\td9\t1\nq1\td8\t1\n")
    assert 'train.tsv, line 2: document "d9" is not in' in error(tmp_path)


def test_parquet_reads_like_jsonl(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    rows = [{"id": i, "title": f"T{i}", "text": f"text {i}", "other": [1.5]} for i in range(3000)]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=700)
    jsonl(tmp_path / "x.jsonl", rows)
    assert list(read(tmp_path / "x.parquet").documents) == list(read(tmp_path / "x.jsonl").documents)
    pairs = [{"query": "q", "pos": ["a", "b"], "neg": ["c"]}]
    pa.parquet.write_table(pa.Table.from_pylist(pairs), tmp_path / "p.parquet")
    assert list(read(tmp_path / "p.parquet").pairs) == [Pair("q", "a", ("c",)), Pair("q", "b", ("c",))]


def test_a_fault_in_parquet_names_the_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pa.table({"id": ["a", "b", None], "text": ["x", None, "z"]})
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    assert error(tmp_path / "x.parquet").startswith('x.parquet, row 2: "text" is None, expected a text')
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-9])
    assert error(tmp_path / "x.parquet").startswith("x.parquet: not a Parquet file, or a damaged one")


def test_a_json_list_reads_like_lines(tmp_path: Path) -> None:
    rows = [{"query": "q", "answer": "a"}, {"query": "r", "answer": "b"}]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    (tmp_path / "y.json").write_text(json.dumps({"data": rows}, indent=1))
    assert list(read(tmp_path / "x.json").pairs) == list(read(tmp_path / "y.json").pairs)
    assert len(list(read(tmp_path / "x.json").pairs)) == 2


def test_llama_index_questions_are_a_domain(tmp_path: Path) -> None:
    value = {"queries": {"q": "?"}, "corpus": {"d": "text", "e": "other"}, "relevant_docs": {"q": ["d"]}}
    (tmp_path / "qa.json").write_text(json.dumps(value))
    domain = read(tmp_path / "qa.json")
    assert list(domain.documents) == [Document("d", "text"), Document("e", "other")]
    assert list(domain.pairs) == [Pair("?", "text")]
    value["relevant_docs"]["q"] = ["gone"]
    (tmp_path / "qa.json").write_text(json.dumps(value))
    assert 'document "gone" of query "q" is not in the corpus' in error(tmp_path / "qa.json")


def test_columns_of_other_names_are_renamed_on_request(tmp_path: Path) -> None:
    file = csv(tmp_path / "faq.csv", "frage,antwort\nWarum?,Darum.\n")
    assert "cannot tell what the columns are ('frage', 'antwort')" in error(file)
    renamed = Reading(columns={"frage": "query", "antwort": "answer"})
    assert list(read(file, renamed).pairs) == [Pair("Warum?", "Darum.")]
    bare = csv(tmp_path / "bare.csv", "Warum?,Darum.\n")
    assert list(read(bare, Reading(columns={"1": "query", "2": "answer"})).pairs) == [Pair("Warum?", "Darum.")]


def test_ms_marco_tsv_needs_no_header(tmp_path: Path) -> None:
    file = csv(tmp_path / "collection.tsv", "0\tThe presence of\n1\tcommunication amid\n")
    assert [document.id for document in read(file).documents] == ["0", "1"]


def test_columns_that_mean_nothing_are_told_with_those_that_would(tmp_path: Path) -> None:
    said = error(jsonl(tmp_path / "x.jsonl", [{"claim": "c", "evidences": []}]))
    assert 'no shape that firth knows among the columns "claim", "evidences"' in said
    assert "columns={'yours': 'query'}" in said


def test_a_file_beside_the_data_that_means_nothing_is_left_out_and_told(tmp_path: Path) -> None:
    jsonl(tmp_path / "docs.jsonl", [{"id": "a", "text": "b"}])
    (tmp_path / "info.json").write_text('{"version": 1, "licence": "x"}')
    (tmp_path / "README.md").write_text("# About\n\nthese data")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    domain = read(tmp_path)
    assert [document.id for document in domain.documents] == ["a"]
    assert any("info.json" in note for note in domain.notes)
    assert any(".png 1" in note and ".md 1" in note for note in domain.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "id,text\n1,a\n2,b,c\n3,d,e\n",
            "line 3: 3 columns, expected 2 (id, text); is a delimiter not quoted?; 1 more",
        ),
        ('id,text\n1,a\n2,"b\n3,c\n', "line 3: not CSV: unexpected end of data; does a quote open here"),
        ('id,text\n1,"a" b\n', "line 2: not CSV: ',' expected after '\"'"),
        ("id,id\n1,2\n", 'line 1: the column "id" is there twice'),
        ("", "x.csv: is empty"),
        ("id,text\n,a\n", "\"id\" is '', expected a text or a whole number"),
        ("sentence1,sentence2,score\na,b,high\n", "line 2: \"score\" is 'high', expected a number"),
        ("query,answer\nq,\n", "line 2: \"answer\" is '', expected a text that is not empty"),
    ],
)
def test_a_csv_row_that_is_wrong_names_its_line_and_the_remedy(tmp_path: Path, text: str, says: str) -> None:
    said = error(csv(tmp_path / "x.csv", text))
    assert said.startswith("x.csv")
    assert says in said


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"query": "q", "pos": []}, '"pos" is [], expected a text that is not empty, or a list of such'),
        ({"query": "q", "pos": ["a", ""]}, "\"pos\" is ['a', '']"),
        ({"query": "", "pos": ["a"]}, "\"query\" is '', expected a text that is not empty"),
        ({"query": "q", "pos": ["a"], "neg": [3]}, '"neg" is [3]'),
        ({"query": "q"}, 'no "pos" among the columns ("query")'),
    ],
)
def test_a_pair_with_an_empty_side_is_refused(tmp_path: Path, row: Any, says: str) -> None:
    said = error(jsonl(tmp_path / "x.jsonl", [{"query": "q", "pos": ["a"]}, row]))
    assert said.startswith("x.jsonl, line 2: ")
    assert says in said


def test_ids_that_two_files_share_name_both(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"id": "x", "text": "1"}, {"id": "y", "text": "1"}])
    jsonl(tmp_path / "b.jsonl", [{"id": "z", "text": "1"}, {"id": "y", "text": "1"}])
    assert f'b.jsonl, line 2: id "y" was used before, in {tmp_path}/a.jsonl, line 2; ids' in error(tmp_path)


def test_a_folder_of_data_sets_asks_for_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        jsonl(tmp_path / name / "corpus.jsonl", [{"_id": "a", "text": "b"}])
    assert "holds several data sets (one, two); name one of them" in error(tmp_path)


def test_compressed_tables_read_like_plain_ones(tmp_path: Path) -> None:
    raw = b"query,answer\nq,a\n"
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(raw))
    assert list(read(tmp_path / "x.csv.gz").pairs) == [Pair("q", "a")]
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "y.csv.zst").write_bytes(zstandard.compress(raw))
    assert list(read(tmp_path / "y.csv.zst").pairs) == [Pair("q", "a")]


def test_a_shape_knows_its_columns_in_any_order_and_case() -> None:
    found = shape(["Label", "neg", "POSITIVE", "Anchor"])
    assert found is not None
    assert (found.query, found.positive, found.negatives, found.score) == ("Anchor", "POSITIVE", ("neg",), "Label")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    import csv as standard

    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = standard.writer(file)
        writer.writerow(["query", "answer"])
        writer.writerows(rows)
    # A carriage return before a line end inside a cell reads as a line end, as it does in Python's own text files.
    expected = [tuple(cell.replace("\r\n", "\n") for cell in row) for row in rows]
    assert [(pair.query, pair.positive) for pair in read(path).pairs] == expected
