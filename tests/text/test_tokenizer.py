"""The tokenizer: rows of ids, what was cut, offsets, and the same from many threads."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import FormatError, SettingsError
from firth.text.records import Ragged
from firth.text.tokenizer import Tokenizer, Words, _pieces

CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def bert(data: Path) -> Tokenizer:
    return Tokenizer.load(data / "tokenizer" / "bert-base-uncased-tokenizer.json")


@pytest.fixture(scope="module")
def texts(data: Path) -> list[str]:
    with gzip.open(data / "retrieval" / "scifact" / "corpus.jsonl.gz") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(200), strict=False)]


def test_rows_stand_between_the_special_tokens(bert: Tokenizer) -> None:
    ragged = bert.encode(["hello world", "", "hello"])
    assert [row.tolist() for row in map(ragged.row, range(3))] == [[CLS, 7592, 2088, SEP], [CLS, SEP], [CLS, 7592, SEP]]
    assert ragged.ids.dtype == np.int32
    assert ragged.offsets.tolist() == [0, 4, 6, 9]
    assert ragged.cut.tolist() == [0, 0, 0]


def test_what_does_not_fit_is_cut_and_counted(bert: Tokenizer, texts: list[str]) -> None:
    whole, cut = bert.encode(texts), bert.encode(texts, 32)
    assert cut.lengths.max() == 32
    assert (whole.lengths - cut.lengths == cut.cut).all()
    assert cut.cut.sum() > 0
    for i in range(len(texts)):
        assert cut.row(i)[-1] == SEP
        assert cut.row(i)[:-1].tolist() == whole.row(i)[: len(cut.row(i)) - 1].tolist()


def test_counts_are_of_the_text_without_special_tokens(bert: Tokenizer, texts: list[str]) -> None:
    assert (bert.count(texts) == bert.encode(texts).lengths - 2).all()


def test_no_texts_give_no_rows(bert: Tokenizer) -> None:
    assert len(bert.encode([])) == 0
    assert bert.encode([]).offsets.tolist() == [0]
    assert bert.count([]).tolist() == []


def test_a_row_needs_room_beside_the_special_tokens(bert: Tokenizer) -> None:
    assert bert.encode(["hello world"], 3).row(0).tolist() == [CLS, 7592, SEP]
    with pytest.raises(SettingsError, match="max_tokens=2: the 2 special tokens alone need that"):
        bert.encode(["hello"], 2)


def test_a_text_beyond_a_piece_gives_the_ids_of_the_whole(
    bert: Tokenizer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = " ".join(texts[:20])
    whole, spans = bert.encode([long, "short"]), bert.spans(long)
    monkeypatch.setattr("firth.text.tokenizer.PIECE", 1000)
    assert len(list(_pieces(long))) > 10
    assert bert.encode([long, "short"]).ids.tolist() == whole.ids.tolist()
    assert bert.encode([long, "short"], 500).row(0)[:-1].tolist() == whole.row(0)[:499].tolist()
    assert bert.encode([long, "short"], 100).cut.tolist() == [whole.lengths[0] - 100, 0]
    assert bert.count([long, "short"]).tolist() == (whole.lengths - 2).tolist()
    assert (bert.spans(long) == spans).all()


@given(st.text(st.sampled_from("a b"), max_size=60))
def test_pieces_are_the_text_and_end_at_spaces(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firth.text.tokenizer.PIECE", 7)
        pieces = list(_pieces(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 7 for piece in pieces)
    for earlier, later in pairwise(pieces):
        assert later[0] == " " or " " not in earlier[1:]


def test_threads_share_one_tokenizer_and_other_lengths(bert: Tokenizer, texts: list[str]) -> None:
    limits = [8, 16, 32, 64] * 4
    texts = texts[:50]
    alone = [bert.encode(texts, limit).ids.tolist() for limit in limits]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda limit: bert.encode(texts, limit).ids.tolist(), limits))
    assert together == alone


def test_special_ids_are_found_by_their_names(bert: Tokenizer) -> None:
    assert (bert.pad, bert.unk, bert.mask) == (0, 100, 103)
    assert (bert.prefix, bert.suffix) == ((CLS,), (SEP,))
    assert bert.size == 30_522
    assert bert.tokens([CLS, 7592]) == ["[CLS]", "hello"]
    assert bert.decode([CLS, 7592, 2088, SEP]) == "hello world"


def test_a_saved_tokenizer_gives_the_same_ids_and_fingerprint(bert: Tokenizer, tmp_path: Path) -> None:
    bert.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == bert.fingerprint
    assert again.encode(["Übergröße"]).ids.tolist() == bert.encode(["Übergröße"]).ids.tolist()


def test_a_vocabulary_file_alone_is_enough_for_bert(bert: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(bert.tokens(range(bert.size))) + "\n")
    assert (
        Tokenizer.load(tmp_path).encode(["Hello, Wörld!"]).ids.tolist() == bert.encode(["Hello, Wörld!"]).ids.tolist()
    )


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no tokenizer\.json here"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"version": "1.0"', "line 1: not JSON"),
        ("[]", "no vocabulary in it"),
        ('{"model": {"type": "WordPiece"}}', "no vocabulary in it"),
        ('{"model": {"type": "WordPiece", "vocab": {"a": "b"}}}', "claims the token id 'b'"),
        ('{"model": {"type": "WordPiece", "vocab": {"a": 0}}}', "not a tokenizer that tokenizers"),
    ],
)
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(FormatError, match=says):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("place", ["vocab", "added_tokens"])
def test_an_id_that_memory_would_be_kept_for_is_refused(bert: Tokenizer, tmp_path: Path, place: str) -> None:
    # The library counts from 0 to the largest id when it writes a vocabulary: gigabytes for one line of a file.
    described = json.loads(bert._backend.to_str())
    if place == "vocab":
        described["model"]["vocab"]["zyzzyva"] = 4_000_000_000
    else:
        described["added_tokens"][0]["id"] = 4_000_000_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(FormatError, match="claims the token id 4000000000, expected 0 to 4,194,303"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("hello", "one str was passed; put it into a list"),
        (["a", 3], "text 1 is int"),
        (["a", "b\ud83d"], "text 1 holds half a surrogate pair at character 1"),
    ],
)
def test_what_is_no_text_is_refused(bert: Tokenizer, texts: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        bert.encode(texts)


def test_spans_point_at_the_tokens(bert: Tokenizer) -> None:
    text = "Größe 42 🎉 naïve"
    assert "".join(text[a:b] for a, b in bert.spans(text)) == "Größe42🎉naïve"


@given(st.text())
def test_words_are_spans_of_the_text(text: str) -> None:
    spans = Words().spans(text)
    assert len(spans) == Words().count([text])[0]
    assert "".join(text[a:b] for a, b in spans) == "".join(text.split())


def test_taken_rows_are_those_rows(rng: np.random.Generator) -> None:
    rows = [rng.integers(0, 99, size=length).tolist() for length in (3, 0, 5, 1)]
    ragged = Ragged.of(rows)
    order = np.array([2, 1, 0, 2])
    assert [ragged.take(order).row(i).tolist() for i in range(4)] == [rows[i] for i in order]
    assert ragged.take(np.array([], np.int64)).offsets.tolist() == [0]
