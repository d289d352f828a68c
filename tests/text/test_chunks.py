"""Chunks: they point into their text, cover it, fit their room, and end where a person would pause."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.errors import SettingsError
from firth.text.chunks import Chunk, Chunking, Section, chunk
from firth.text.tokenizer import Tokenizer, Words

WORDS = Words()
TEXTS = st.text(st.sampled_from("ab .!\n\tü漢🎉\r\u2028'") | st.characters(codec="utf-8"), max_size=300)
ROOMS = st.tuples(st.integers(1, 12), st.integers(0, 6)).filter(lambda room: room[1] <= room[0] // 2)


@pytest.fixture(scope="module")
def bert(data: Path) -> Tokenizer:
    return Tokenizer.load(data / "tokenizer" / "bert-base-uncased-tokenizer.json")


def test_the_example_of_the_docstring() -> None:
    found = chunk("One two. Three four. Five six.", WORDS, Chunking(tokens=6, overlap=2))
    assert found == [Chunk("One two. Three four.", 0, 20), Chunk("four. Five six.", 15, 30)]


@given(TEXTS, ROOMS)
def test_a_chunk_is_what_stands_at_its_offsets(text: str, room: tuple[int, int]) -> None:
    for part in chunk(text, WORDS, Chunking(*room)):
        assert text[part.start : part.end] == part.text
        assert part.text == part.text.strip() != ""


@given(TEXTS, ROOMS)
def test_every_token_is_in_a_chunk_and_none_holds_more_than_its_room(text: str, room: tuple[int, int]) -> None:
    parts = chunk(text, WORDS, Chunking(*room))
    covered = np.zeros(len(text), bool)
    for part in parts:
        covered[part.start : part.end] = True
        assert WORDS.count([part.text])[0] <= room[0]
    for start, end in WORDS.spans(text):
        assert covered[start:end].all()


@given(TEXTS, ROOMS)
def test_chunks_advance_and_without_overlap_share_nothing(text: str, room: tuple[int, int]) -> None:
    parts = chunk(text, WORDS, Chunking(*room))
    for earlier, later in pairwise(parts):
        assert earlier.start < later.start
        assert earlier.end < later.end
    for earlier, later in pairwise(chunk(text, WORDS, Chunking(room[0], 0))):
        assert earlier.end <= later.start


@settings(max_examples=30)
@given(text=TEXTS, room=ROOMS)
def test_offsets_are_right_with_a_models_tokenizer(bert: Tokenizer, text: str, room: tuple[int, int]) -> None:
    for part in chunk(text, bert, Chunking(*room)):
        assert text[part.start : part.end] == part.text != ""


def test_a_models_chunk_has_room_for_its_own_tokens(bert: Tokenizer) -> None:
    text = " ".join(f"Sentence {i} speaks of embeddings, retrieval and naïveté." for i in range(200))
    parts = chunk(text, bert, Chunking(64, 16))
    assert bert.count([part.text for part in parts]).max() <= 64
    assert len(parts) > 20


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aa bb cc dd ee ff\n\ngg\nhh. ii jj kk ll", "aa bb cc dd ee ff"),  # a paragraph before a line
        ("aa bb cc dd ee. ff\ngg hh ii jj kk ll", "aa bb cc dd ee. ff"),  # a line before a sentence
        ("aa bb cc dd ee. ff gg hh ii jj kk ll", "aa bb cc dd ee."),  # a sentence before a word
        ("aa bb\n\ncc dd ee ff gg hh ii jj kk ll", "aa bb\n\ncc dd ee ff gg hh"),  # never before three quarters
    ],
)
def test_a_chunk_ends_at_the_strongest_pause_in_its_last_quarter(text: str, first: str) -> None:
    assert chunk(text, WORDS, Chunking(8, 0))[0].text == first


def test_the_overlap_repeats_whole_words_from_the_end_of_the_chunk_before() -> None:
    parts = chunk(" ".join(f"w{i}" for i in range(30)), WORDS, Chunking(10, 3))
    assert parts[0].text.split()[-3:] == parts[1].text.split()[:3]


def test_no_chunk_crosses_a_section_and_each_has_its_title() -> None:
    text = "aa bb cc | dd ee ff gg"
    sections = [Section(0, 8, "one"), Section(11, 22, "two")]
    assert chunk(text, WORDS, Chunking(3, 0), sections=sections) == [
        Chunk("aa bb cc", 0, 8, "one"),
        Chunk("dd ee ff", 11, 19, "two"),
        Chunk("gg", 20, 22, "two"),
    ]


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_a_text_without_tokens_has_no_chunks(text: str) -> None:
    assert chunk(text, WORDS) == []


@pytest.mark.parametrize("room", [(0, 0), (10, 6), (10, -1)])
def test_an_overlap_beyond_half_the_room_is_refused(room: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="overlap from 0 to half"):
        Chunking(*room)


def test_a_long_text_is_cut_in_linear_time() -> None:
    parts = chunk("word " * 200_000, WORDS)
    assert len(parts) == pytest.approx(200_000 / 224, rel=0.02)
