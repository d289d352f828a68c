"""BERT's WordPiece at the speed of the native kernel: ASCII there, the rest by the library and then remembered.

BERT's rules never look across a space, so the few segments that hold other characters ("naïve", "α-helix") can be
tokenised on their own and give the same ids. Tests compare every id with the library's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids
from firth.kernels.wordpiece import ASIDE, WordPiece

REMEMBERED = 1 << 17  # segments; about 30 MB
LONGEST_REMEMBERED = 48  # bytes; longer ones hardly come twice

Tokens = NDArray[np.int32]


def native_wordpiece(backend: Any) -> WordPieces | None:
    """The fast way for a tokenizers.Tokenizer, None where its rules are not BERT's."""
    described = json.loads(backend.to_str())
    model, normalizer = described["model"], described["normalizer"] or {}
    added = [token["content"] for token in described["added_tokens"]]
    if (
        model.get("type") != "WordPiece"
        or normalizer.get("type") != "BertNormalizer"
        or (described["pre_tokenizer"] or {}).get("type") != "BertPreTokenizer"
        or model["continuing_subword_prefix"] != "##"
        or model["unk_token"] not in model["vocab"]
        or model["max_input_chars_per_word"] < 1
        or any(not token or not token.isascii() or token.split() != [token] for token in added)
    ):
        return None
    entries = [b""] * (max(model["vocab"].values()) + 1)
    for token, i in model["vocab"].items():
        entries[i] = token.encode()
    kernel = WordPiece(
        entries,
        unknown=model["vocab"][model["unk_token"]],
        longest=model["max_input_chars_per_word"],
        lower=normalizer["lowercase"],
        # An added token may be found in a text as it stands or in other letter case: its first byte leaves it aside.
        aside="".join(token[0].lower() + token[0].upper() for token in added).encode(),
    )
    return WordPieces(backend, kernel)


class WordPieces:
    """Rows of ids without special tokens, equal to the library's."""

    def __init__(self, backend: Any, kernel: WordPiece) -> None:
        self._backend = backend
        self._kernel = kernel
        self._known: dict[bytes, list[int]] = {}

    def rows(self, texts: Sequence[str]) -> tuple[Tokens, Ids]:
        """All ids one after another, (t,) int32, and where each text's begin, (n + 1,) int64."""
        raw = [text.encode() for text in texts]
        blob = b"".join(raw)
        ids, spans, rows = self._kernel.split(blob, _offsets(np.fromiter(map(len, raw), np.int64, len(raw))))
        places = np.flatnonzero(ids == ASIDE)
        if not len(places):
            return ids, rows
        segments = [blob[start:end] for start, end in spans[places].tolist()]
        found = self._remembered(set(segments))
        lengths = np.ones(len(ids), np.int64)
        lengths[places] = np.fromiter((len(found[segment]) for segment in segments), np.int64, len(segments))
        offsets = _offsets(lengths)
        aside = np.zeros(offsets[-1], bool)
        aside[_ranges(offsets[places], lengths[places])] = True
        out = np.empty(offsets[-1], np.int32)
        out[~aside] = ids[ids != ASIDE]
        out[aside] = [token for segment in segments for token in found[segment]]
        return out, offsets[rows]

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) int64 start and end of each token in the text, in characters."""
        blob = text.encode()
        ids, bytes_, _ = self._kernel.split(blob, np.array([0, len(blob)]))
        spans = bytes_.astype(np.int64)
        if len(blob) != len(text):
            # A character begins at every byte but those that go on inside one (10xxxxxx).
            begins = (np.frombuffer(blob, np.uint8) & 0xC0) != 0x80
            spans = _offsets(begins.astype(np.int64))[spans]
        places = np.flatnonzero(ids == ASIDE)
        if not len(places):
            return spans
        parts, done = [], 0
        for place in places.tolist():
            start, end = spans[place]
            found = self._backend.encode(text[start:end], add_special_tokens=False).offsets
            parts += [spans[done:place], np.array(found, np.int64).reshape(-1, 2) + start]
            done = place + 1
        return np.concatenate([*parts, spans[done:]])

    def _remembered(self, segments: set[bytes]) -> dict[bytes, list[int]]:
        """The ids of each segment; safe from several threads, since a dictionary that is in use is never emptied."""
        known = self._known
        new = [segment for segment in segments if segment not in known]
        encodings = self._backend.encode_batch_fast([segment.decode() for segment in new], add_special_tokens=False)
        found = {segment: encoding.ids for segment, encoding in zip(new, encodings, strict=True)}
        found |= {segment: known[segment] for segment in segments if segment not in found}
        if len(known) + len(new) > REMEMBERED:
            known = self._known = {}
        known.update((segment, found[segment]) for segment in new if len(segment) <= LONGEST_REMEMBERED)
        return found


def _offsets(lengths: Ids) -> Ids:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _ranges(starts: Ids, lengths: Ids) -> Ids:
    """Every number of start..start + length, one range after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
