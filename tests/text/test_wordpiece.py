"""The native WordPiece: its twin's items at every CPU level, and the library's ids and offsets on any text."""

from __future__ import annotations

import gzip
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.errors import SettingsError, ShapeError
from firth.kernels.wordpiece import WordPiece, split_twin
from firth.text.tokenizer import Tokenizer, _Library
from firth.text.wordpiece import WordPieces

ENTRIES = [
    b"[UNK]",
    b"a",
    b"b",
    b"ab",
    b"##a",
    b"##ba",
    b"##c",
    b"",
    b"abc",
    b"##",
    b"#",
    b"1",
    b"##23",
    b"\xc3\xa4",
    b"-",
]
RULES: dict[str, Any] = {"unknown": 0, "longest": 6, "lower": True, "aside": b"["}


def texts(count: int) -> list[bytes]:
    chance = random.Random(0)
    marks = [
        b"a",
        b"b",
        b"c",
        b"A",
        b"1",
        b"23",
        b"-",
        b"#",
        b"[",
        b" ",
        b"\t",
        b"\n",
        b"\x07",
        b"\xc3\xa4",
        b"\x7f",
        b"aba",
    ]
    return [b"".join(chance.choices(marks, k=chance.randrange(30))) for _ in range(count)]


@pytest.mark.parametrize("rules", [RULES, {**RULES, "lower": False, "longest": 2, "aside": b"", "unknown": 2}])
def test_items_are_those_of_the_twin_at_every_level(level: Any, rules: dict[str, Any]) -> None:
    kernel = WordPiece(ENTRIES, **rules, module=level)
    found = texts(300)
    offsets = np.cumsum([0, *map(len, found)])
    ids, spans, rows = kernel.split(b"".join(found), offsets)
    for i, text in enumerate(found):
        expected_ids, expected_spans = split_twin(ENTRIES, text, **rules)
        assert ids[rows[i] : rows[i + 1]].tolist() == expected_ids
        assert [tuple(span) for span in spans[rows[i] : rows[i + 1]] - offsets[i]] == expected_spans
    assert rows[-1] == len(ids)


def test_a_word_that_no_entries_make_is_one_unknown(level: Any) -> None:
    kernel = WordPiece(ENTRIES, **RULES, module=level)
    ids, spans, _ = kernel.split(b"aba abx abababa", np.array([0, 15]))
    assert ids.tolist() == [3, 4, 0, 0]
    assert spans.tolist() == [[0, 2], [2, 3], [4, 7], [8, 15]]


def test_texts_of_one_call_do_not_touch(level: Any) -> None:
    kernel = WordPiece(ENTRIES, **RULES, module=level)
    ids, _, rows = kernel.split(b"aba", np.array([0, 1, 1, 3]))
    assert ids.tolist() == [1, 2, 4]
    assert rows.tolist() == [0, 1, 1, 3]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 4], [0, 3, 2, 3]])
def test_offsets_that_leave_the_text_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ShapeError, match="expected 0 rising to 3"):
        WordPiece(ENTRIES, **RULES).split(b"aba", np.array(offsets))


def test_an_unknown_that_is_no_entry_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown=15"):
        WordPiece(ENTRIES, **{**RULES, "unknown": 15})


@pytest.fixture(scope="module")
def bert(data: Path) -> Tokenizer:
    found = Tokenizer.load(data / "tokenizer" / "bert-base-uncased-tokenizer.json")
    assert isinstance(found._engine, WordPieces)
    return found


TEXTS = st.text(
    st.sampled_from("aAbB .,-#[]12\t\n\r\x07\x0b\u00a0\u3000éÅßı漢🎉\u0301\u200b\ufffd") | st.characters(codec="utf-8"),
    max_size=60,
)


@settings(max_examples=300)
@given(
    found=st.lists(TEXTS | st.sampled_from(["[MASK]", "x[SEP] [CLS]y", "[mask]", "y" * 101]), min_size=1, max_size=4)
)
def test_ids_and_offsets_are_the_librarys_on_any_text(bert: Tokenizer, found: list[str]) -> None:
    library = _Library(bert._backend)
    ids, offsets = bert._engine.rows(found)
    expected_ids, expected_offsets = library.rows(found)
    assert ids.tolist() == expected_ids.tolist()
    assert offsets.tolist() == expected_offsets.tolist()
    for text in found:
        assert bert._engine.spans(text).tolist() == library.spans(text).tolist()


def test_threads_share_what_is_remembered(bert: Tokenizer, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gzip.open(data / "retrieval" / "scifact" / "corpus.jsonl.gz") as lines:
        found = [json.loads(line)["text"] for line, _ in zip(lines, range(200), strict=False)]
    expected = bert.encode(found).ids.tolist()
    monkeypatch.setattr("firth.text.wordpiece.REMEMBERED", 50)  # so that it is thrown away all the time
    with ThreadPoolExecutor(4) as pool:
        assert all(ids.ids.tolist() == expected for ids in pool.map(lambda _: bert.encode(found), range(8)))
    assert len(bert._engine._known) <= 2_000


def test_tokenizers_of_other_kinds_go_through_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    backend = library.Tokenizer(library.models.BPE())
    backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    backend.train_from_iterator(["the cat sat on the mat"] * 9, trainer)
    backend.post_processor = library.processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    assert isinstance(ours._engine, _Library)
    assert (ours.prefix, ours.suffix, ours.pad) == ((0,), (1,), 2)
    text = "the cat sat"
    assert ours.encode([text, ""]).ids.tolist() == [*backend.encode(text).ids, 0, 1]
    assert ours.encode([text], 4).row(0).tolist() == [0, *backend.encode(text).ids[1:3], 1]
    assert "".join(text[a:b] for a, b in ours.spans(text)) == text.replace(" ", "")
