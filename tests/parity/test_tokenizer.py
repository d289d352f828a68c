"""Our ids against transformers', which is what published models were trained with, on every language at hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from firth.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
ODD = [
    "",
    " \t\n",
    "naïve café Ångström ﬁ ß İ ŉ",
    "don't stop-me @home #1 $3.50 100% a_b [MASK] [SEP]x [ CLS ]",
    "東京タワー 日本語テキスト 한국어 ไทย हिन्दी العربية עברית",
    "🎉👩‍👩‍👧 e\u0301 \u200bzero\u00a0width\u3000space \ufeff",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "control\x07 and \x0c form \r carriage",
    "… — “quoted” ‘single’ ₂ ½ ℃ ™ \u2028",
]


@pytest.fixture(scope="module")
def both(data: Path) -> tuple[Tokenizer, Any]:
    file = data / "tokenizer" / "bert-base-uncased-tokenizer.json"
    return Tokenizer.load(file), transformers.PreTrainedTokenizerFast(tokenizer_file=str(file))


def texts(data: Path) -> list[str]:
    found = list(ODD)
    for file in sorted((data / "bitext_tatoeba").iterdir()):
        found += file.read_text(encoding="utf-8").splitlines()[:200]
    with gzip.open(data / "retrieval" / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        found += [json.loads(line)["text"] for line, _ in zip(lines, range(300), strict=False)]
    return found


@pytest.mark.parametrize("limit", [None, 128, 3])
def test_ids_equal_those_of_transformers(data: Path, both: tuple[Tokenizer, Any], limit: int | None) -> None:
    ours, theirs = both
    read = texts(data)
    ragged = ours.encode(read, limit)
    expected = theirs(read, truncation=limit is not None, max_length=limit, padding=False)["input_ids"]
    assert [ragged.row(i).tolist() for i in range(len(read))] == expected


def test_what_is_cut_is_what_transformers_leaves_out(data: Path, both: tuple[Tokenizer, Any]) -> None:
    ours, theirs = both
    read = texts(data)[-300:]
    whole = [len(row) for row in theirs(read, truncation=False)["input_ids"]]
    assert ours.encode(read, 64).cut.tolist() == [max(length - 64, 0) for length in whole]
