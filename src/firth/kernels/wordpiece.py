"""The tokenizer kernel: WordPiece as BERT splits text, for the segments of a text that are plain ASCII.

Wu et al. 2016, arXiv:1609.08144; the rules are those of BERT's uncased and cased tokenizers. A segment is what stands
between spaces, tabs and line ends. One that holds a byte beyond ASCII, a control character or a byte of `aside` is set
aside for a tokenizer that knows Unicode; BERT's rules never look across a space, so that the rest is unaffected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids
from firth.errors import SettingsError, ShapeError
from firth.kernels import native

ASIDE = -1  # the id of a segment that was set aside
LONGEST_TEXT = (1 << 31) - 1  # bytes of one call: spans are int32

Tokens = NDArray[np.int32]


class WordPiece:
    """A vocabulary ready for splitting; safe to call from several threads at once.

    Args:
        entries: entry i has id i; b"##" begins those that go on inside a word; b"" is a gap.
        unknown: the id of a word that no entries make.
        longest: characters; a longer word is unknown.
        lower: read A-Z as a-z.
        aside: bytes whose segments are set aside, for instance b"[" where "[MASK]" means something.

    Raises:
        SettingsError: `unknown` is no entry.
    """

    def __init__(
        self,
        entries: Sequence[bytes],
        *,
        unknown: int,
        longest: int = 100,
        lower: bool = True,
        aside: bytes = b"",
        module: Any = native,
    ) -> None:
        if not 0 <= unknown < len(entries) or longest < 1:
            raise SettingsError(
                f"unknown={unknown}, longest={longest}: expected an id below {len(entries)}, at least 1"
            )
        flags = np.zeros(256, np.uint8)
        flags[list(aside)] = 1
        self._native = module.WordPiece(_bytes(b"".join(entries)), _offsets(entries), flags, unknown, longest, lower)

    def split(self, text: bytes, offsets: Ids) -> tuple[Tokens, Tokens, Ids]:
        """Split texts that lie one after another: text i is text[offsets[i]:offsets[i + 1]].

        Returns:
            ids (m,) int32, ASIDE for a segment that was set aside; spans (m, 2) int32, the bytes of `text` that each
            stands for; rows (n + 1,) int64, text i's items are ids[rows[i]:rows[i + 1]].

        Raises:
            ShapeError: offsets do not rise from 0 to the length of the text, or it is beyond 2 GB.
        """
        if offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) < 0).any() or len(text) > LONGEST_TEXT:
            raise ShapeError(f"offsets: expected 0 rising to {len(text)}, at most {LONGEST_TEXT}; got {offsets!r}")
        ids, spans = np.empty(len(text), np.int32), np.empty((len(text), 2), np.int32)
        rows = np.empty(len(offsets), np.int64)
        count = self._native.split(_bytes(text), np.ascontiguousarray(offsets, np.int64), ids, spans, rows)
        return ids[:count], spans[:count], rows


def split_twin(entries: Sequence[bytes], text: bytes, *, unknown: int, longest: int, lower: bool, aside: bytes) -> Any:
    """Python twin of `WordPiece.split` for one text: its ids and spans."""
    table = {entry: i for i, entry in enumerate(entries) if entry}
    items: list[tuple[int, tuple[int, int]]] = []
    for segment in re.finditer(rb"[^ \t\n\r]+", text):
        if re.search(rb"[^!-~]", segment[0]) or set(segment[0]) & set(aside):
            items.append((ASIDE, segment.span()))
            continue
        for word in re.finditer(rb"[0-9A-Za-z]+|.", segment[0]):
            start, end = segment.start() + word.start(), segment.start() + word.end()
            spelt, found, begin = word[0].lower() if lower else word[0], [], 0
            while begin < len(spelt) <= longest:
                ends = range(len(spelt), begin, -1)
                to = next((to for to in ends if (b"##" if begin else b"") + spelt[begin:to] in table), None)
                if to is None:
                    break
                found.append((table[(b"##" if begin else b"") + spelt[begin:to]], (start + begin, start + to)))
                begin = to
            items += found if begin == len(spelt) else [(unknown, (start, end))]
    return [i for i, _ in items], [span for _, span in items]


def _bytes(raw: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(raw, np.uint8)


def _offsets(entries: Sequence[bytes]) -> Ids:
    return np.concatenate([[0], np.cumsum([len(entry) for entry in entries], dtype=np.int64)])
