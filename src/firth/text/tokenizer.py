"""Texts to token ids by a model's own tokenizer.json, packed without padding, with what was cut counted.

The Rust `tokenizers` library (Apache-2.0) knows every kind of tokenizer; BERT's own kind goes through firth's kernel
(wordpiece.py), with the same ids. Where we differ: the library's truncation is a setting that every thread shares
("Already borrowed" in a server) and does not say how much it cut, so it stays off and rows are cut here. Where the
library is absent, `Words` counts words, which is enough to cut chunks.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids
from firth.errors import FormatError, MissingExtraError, SettingsError
from firth.files import read_json, write_text
from firth.text.records import Ragged
from firth.text.wordpiece import native_wordpiece

SLICE = 1 << 18  # characters tokenised at once: bounds the library's memory, about 150 bytes a token
MOST_ENTRIES = 1 << 22  # ids of a vocabulary; the largest published ones have about 2^18
PIECE = 1 << 18  # characters; a longer text is tokenised in pieces that end at a space, so that it cannot fill memory


class Spans(Protocol):
    """What cutting into chunks needs of a tokenizer."""

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) start and end of each token in the text, in characters."""

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(n,) tokens in each text, special tokens not counted."""


class Tokenizer:
    """A loaded tokenizer. All methods may be called from several threads at once.

    Attributes:
        prefix, suffix: special ids around every text, for BERT ([CLS],) and ([SEP],).
        pad, unk, mask: ids of those special tokens, None where the vocabulary has none.
        size: entries in the vocabulary.
        fingerprint: hex digest of everything that decides the ids.
    """

    def __init__(self, backend: Any) -> None:
        truncation = backend.truncation
        self._cut_left = truncation is not None and truncation["direction"] == "left"
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._engine = native_wordpiece(backend) or _Library(backend)
        self.prefix, self.suffix = _template(backend)
        self.size: int = backend.get_vocab_size()
        self.pad = self._special("[PAD]", "<pad>")
        self.unk = self._special("[UNK]", "<unk>")
        self.mask = self._special("[MASK]", "<mask>")
        self.fingerprint = hashlib.sha256(backend.to_str().encode()).hexdigest()

    @staticmethod
    def load(path: Path | str) -> Tokenizer:
        """A tokenizer.json, or a folder that holds one (or BERT's older vocab.txt).

        Raises:
            MissingExtraError: the tokenizers library is not installed.
            FormatError: no tokenizer there, or one that the library does not read.
        """
        library = _library()
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if path.is_dir() and not file.exists() and (path / "vocab.txt").exists():
            return Tokenizer(_from_vocabulary(path))
        if not file.is_file():
            raise FormatError(f"no tokenizer.json here; was the whole model folder copied? ({file})", path=path)
        _check_ids(file)
        try:
            backend = library.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            message = f"not a tokenizer that tokenizers {library.__version__} reads: {error}"
            raise FormatError(message, path=file) from error
        return Tokenizer(backend)

    def save(self, path: Path | str) -> None:
        """Write tokenizer.json, whole or not at all; a folder gets one of that name."""
        path = Path(path)
        write_text(path / "tokenizer.json" if path.is_dir() else path, self._backend.to_str(pretty=True))

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Ragged:
        """Ids of every text, special tokens around each, none longer than `max_tokens`.

        Args:
            texts: n texts.
            max_tokens: most tokens a row, special ones included; None cuts nothing.

        Returns:
            Ragged of n rows; `cut` counts the tokens of a text that its row has no room for. Exact, except that in a
            text beyond 262,144 characters a tokenizer that does not split at spaces may be off by one a piece.

        Raises:
            SettingsError: no room for a token beside the special ones, or a text that holds half a surrogate pair.
        """
        special = len(self.prefix) + len(self.suffix)
        if max_tokens is not None and max_tokens <= special:
            raise SettingsError(f"max_tokens={max_tokens}: the {special} special tokens alone need that; raise it")
        room = max_tokens - special if max_tokens is not None else None
        parts = [self._packed(ids, offsets, room) for ids, offsets in self._bodies(texts)]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def count(self, texts: Sequence[str]) -> Ids:
        """(n,) tokens in each text, special tokens not counted, nothing cut."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for _, offsets in self._bodies(texts))])

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) int64 start and end of each token in the text, in characters."""
        found = [np.zeros((0, 2), np.int64)]
        start = 0
        for piece in _pieces(text):
            found.append(self._engine.spans(piece) + start)
            start += len(piece)
        return np.concatenate(found)

    def tokens(self, ids: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """The vocabulary's spelling of each id, for instance "##ing"."""
        return [self._backend.id_to_token(int(i)) for i in ids]

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """Text again, special tokens left out."""
        text: str = self._backend.decode([int(i) for i in ids])
        return text

    def id_of(self, token: str) -> int | None:
        """The id of a vocabulary entry, None where it is absent."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def _bodies(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int32], Ids]]:
        """Ids without special tokens and where each text's begin, a slice of the texts at a time."""
        pieces: list[str] = []
        firsts = [0]  # the first piece of each text, and one past the last
        waiting = 0
        _check(texts)
        for text in texts:
            if len(text) <= PIECE:
                pieces.append(text)
            else:
                pieces.extend(_pieces(text))
            firsts.append(len(pieces))
            waiting += len(text)
            if waiting >= SLICE:
                ids, offsets = self._engine.rows(pieces)
                yield ids, offsets[firsts]
                pieces, firsts, waiting = [], [0], 0
        if len(firsts) > 1:
            ids, offsets = self._engine.rows(pieces)
            yield ids, offsets[firsts]

    def _packed(self, body: NDArray[np.int32], offsets: Ids, room: int | None) -> Ragged:
        """Rows of at most `room` ids, the special ones put around them."""
        lengths = np.diff(offsets)
        kept = lengths if room is None else np.minimum(lengths, room)
        before, after = len(self.prefix), len(self.suffix)
        packed = np.zeros(len(offsets), np.int64)
        np.cumsum(kept + before + after, out=packed[1:])
        ids = np.empty(packed[-1], np.int32)
        for place, token in enumerate(self.prefix):
            ids[packed[:-1] + place] = token
        for place, token in enumerate(self.suffix):
            ids[packed[1:] - after + place] = token
        starts = offsets[:-1] + (lengths - kept if self._cut_left else 0)
        ends = np.cumsum(kept)
        place = np.arange(ends[-1]) - np.repeat(ends - kept, kept)
        ids[place + np.repeat(packed[:-1] + before, kept)] = body[place + np.repeat(starts, kept)]
        return Ragged(ids, packed, lengths - kept)

    def _special(self, *names: str) -> int | None:
        return next((i for i in map(self.id_of, names) if i is not None), None)


class _Library:
    """Rows of ids without special tokens, by the library alone."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def rows(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], Ids]:
        """All ids one after another, (t,) int32, and where each text's begin, (n + 1,) int64."""
        ids = array("i")
        offsets = array("q", [0])
        for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False):
            ids.fromlist(encoding.ids)
            offsets.append(len(ids))
        return np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64)

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) int64 start and end of each token in the text, in characters."""
        return np.array(self._backend.encode(text, add_special_tokens=False).offsets, np.int64).reshape(-1, 2)


class Words:
    """Counts a word or a mark as one token: the stand-in where the tokenizers library is absent."""

    _TOKEN = re.compile(r"\w+|[^\w\s]")

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) int64 start and end of each word or mark, in characters."""
        return np.array([match.span() for match in self._TOKEN.finditer(text)], np.int64).reshape(-1, 2)

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(n,) words and marks in each text."""
        return np.array([sum(1 for _ in self._TOKEN.finditer(text)) for text in texts], np.int64)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("tokenizers", "torch", "splitting text into a model's tokens") from error
    return tokenizers


def _check_ids(file: Path) -> None:
    """Refuse an id that memory would have to be kept for: the library counts from 0 to the largest."""
    described = read_json(file)
    model = described.get("model") if isinstance(described, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if vocabulary is None:
        raise FormatError("no vocabulary in it; is this the model's tokenizer.json?", path=file)
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    added = described.get("added_tokens") or []
    ids += [token.get("id") for token in added if isinstance(token, dict)]
    wrong = next((i for i in ids if not isinstance(i, int) or not 0 <= i < MOST_ENTRIES), None)
    if wrong is not None:
        raise FormatError(f"claims the token id {wrong!r}, expected 0 to {MOST_ENTRIES - 1:,}", path=file)


def _from_vocabulary(folder: Path) -> Any:
    """BERT's WordPiece from vocab.txt, lower-casing as tokenizer_config.json says (default: yes)."""
    config = folder / "tokenizer_config.json"
    lowercase = json.loads(config.read_text()).get("do_lower_case", True) if config.exists() else True
    wordpiece = _library().implementations.BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)
    return wordpiece._tokenizer


def _template(backend: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special ids before and after a text, found by looking at one."""
    bare = backend.encode("a", add_special_tokens=False).ids
    full = backend.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    raise FormatError("this tokenizer changes a text's ids when it adds special tokens, which firth cannot follow")


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most PIECE characters, each but the first beginning with the space it was cut at."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind(" ", start + 1, start + PIECE)
        end = start + PIECE if end < 0 else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _joined(parts: Sequence[Ragged]) -> Ragged:
    """Parts one after another; none of them gives no rows."""
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    ids = np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)])
    return Ragged(ids, np.cumsum(lengths), np.concatenate([np.zeros(0, np.int64), *(part.cut for part in parts)]))


def _check(texts: Sequence[Any]) -> None:
    if isinstance(texts, str):
        raise SettingsError("texts: one str was passed; put it into a list")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise SettingsError(f"texts: text {i} is {type(text).__name__}, expected str")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                message = f"texts: text {i} holds half a surrogate pair at character {error.start}: {text[:40]!r}"
                raise SettingsError(message) from error
