"""A test set: documents, queries, and who judged which document to answer which query how well.

On disk it is a BEIR folder (Thakur et al. 2021, arXiv:2104.08663): corpus.jsonl, queries.jsonl, qrels/<split>.tsv.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from firth.errors import DataError, StorageError
from firth.files import write_folder
from firth.text.records import Document, Judgements

HEADER = "query-id\tcorpus-id\tscore\n"


@dataclass(frozen=True)
class TestSet:
    """What a model or an index is measured on.

    Attributes:
        documents: document id -> document.
        queries: query id -> text; each has a judgement.
        judgements: query id -> document id -> grade.
    """

    documents: dict[str, Document]
    queries: dict[str, str]
    judgements: Judgements

    __test__ = False  # the name makes pytest look for tests in it

    @staticmethod
    def load(path: Path | str, split: str = "test") -> TestSet:
        """The test set of one split of a BEIR folder, or of any other input that has judgements (`read`).

        Raises:
            DataError: a fault in a file, with its line; or no such split, with those that exist.
        """
        from firth.text.read import read

        return read(path).testset(split)

    def save(self, path: Path | str, split: str = "test") -> None:
        """Write a BEIR folder, whole or not at all; an earlier one that holds this split alone is replaced.

        Raises:
            StorageError: something else stands at `path`, or the disk is full.
            DataError: an id holds a tab or a line end, which qrels cannot hold.
        """
        path = Path(path)
        if path.exists():
            ours = {"corpus.jsonl", "queries.jsonl", "qrels", f"qrels/{split}.tsv"}
            other = sorted({str(file.relative_to(path)) for file in path.rglob("*")} - ours) if path.is_dir() else ["."]
            if other:
                raise StorageError(f"{path}: holds something else ({other[0]}), which would be lost; name a new folder")
        with write_folder(path) as folder:
            with (folder / "corpus.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_line(_described(document)) for document in self.documents.values())
            with (folder / "queries.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_line({"_id": id_, "text": text}) for id_, text in self.queries.items())
            (folder / "qrels").mkdir()
            with (folder / "qrels" / f"{split}.tsv").open("w", encoding="utf-8", newline="\n") as file:
                file.write(HEADER)
                for query, grades in self.judgements.items():
                    file.writelines(f"{_id(query)}\t{_id(id_)}\t{_grade(grade)}\n" for id_, grade in grades.items())


def _described(document: Document) -> dict[str, object]:
    row: dict[str, object] = {"_id": document.id, "title": document.title, "text": document.text}
    if document.source or document.end:
        row["metadata"] = {"source": document.source, "start": document.start, "end": document.end}
    return row


def _line(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _id(value: str) -> str:
    if any(mark in value for mark in "\t\n\r"):
        raise DataError(f"the id {value!r} holds a tab or a line end, which qrels cannot hold; rename it")
    return value


def _grade(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
