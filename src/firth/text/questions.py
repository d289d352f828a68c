"""LlamaIndex's question files: one JSON object of `queries`, `corpus` and `relevant_docs`, each by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firth.errors import DataError
from firth.text import jsonl
from firth.text.domain import Documents, Domain, JudgedPairs
from firth.text.lines import Place
from firth.text.records import Document, Judgements
from firth.text.settings import Reading
from firth.text.table import split_of

KEYS = ("queries", "corpus", "relevant_docs")


def read_questions(path: Path, settings: Reading) -> Domain | None:
    """The file as a domain, None where it is no such file; it is read whole.

    Raises:
        DataError: a text that is none, or a question whose document is absent.
    """
    value = jsonl.whole(path, limit=settings.max_file)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), dict) for key in KEYS):
        return None
    corpus, queries = _texts(path, value, "corpus"), _texts(path, value, "queries")
    judgements: Judgements = {}
    for query, documents in value["relevant_docs"].items():
        if query not in queries:
            raise DataError(
                f'relevant_docs: query "{query}" is not among the queries ({len(queries):,} read)', path=path
            )
        absent = [document for document in documents if document not in corpus]
        if absent:
            raise DataError(f'relevant_docs: document "{absent[0]}" of query "{query}" is not in the corpus', path=path)
        judgements[query] = dict.fromkeys(documents, 1.0)
    split = split_of(path) or "train"
    documents = Documents(
        lambda _: ((Place(path, line), Document(*item)) for line, item in enumerate(corpus.items(), 1)),
        path,
        count=len(corpus),
    )
    pairs = JudgedPairs(documents, queries, judgements if split == "train" else {})
    missing = [] if split == "train" else ["pairs"]
    return Domain(documents, queries, {split: judgements}, pairs, "json", missing, path)


def _texts(path: Path, value: dict[str, Any], key: str) -> dict[str, str]:
    for id_, text in value[key].items():
        if not isinstance(text, str):
            raise DataError(f'{key}: "{id_}" is {type(text).__name__}, expected a text', path=path)
    texts: dict[str, str] = value[key]
    return texts
