"""Texts to token ids by a model's own tokenizer.json, packed without padding, with what was cut counted.

The Rust `tokenizers` library (Apache-2.0) does the splitting; its ids equal transformers'. Where we differ: its own
truncation is a setting that every thread shares ("Already borrowed" in a server) and that hides how much it cut, so it
stays off and rows are cut here. Where the library is absent, `Words` counts words, which is enough to cut chunks.
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

from firth.errors import FormatError, MissingExtraError, SettingsError
from firth.text.records import Ragged

SLICE = 512  # texts handed to the library at once: bounds its memory (about 150 bytes a token), feeds all its threads
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
        try:
            return Tokenizer(library.Tokenizer.from_file(str(file)))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise FormatError(
                f"not a tokenizer that tokenizers {library.__version__} reads: {error}", path=file
            ) from error

    def save(self, path: Path | str) -> None:
        """Write tokenizer.json, whole or not at all; a folder gets one of that name."""
        from firth.files import write_text

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
        ids = array("i")
        lengths = array("q")
        cut = array("q")
        prefix, suffix = array("i", self.prefix), array("i", self.suffix)
        for row, tokens in self._rows(texts, room):
            ids.extend(prefix)
            ids.fromlist(row)
            ids.extend(suffix)
            lengths.append(len(row) + special)
            cut.append(tokens - len(row))
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.frombuffer(lengths, np.int64), out=offsets[1:])
        return Ragged(np.frombuffer(ids, np.int32), offsets, np.frombuffer(cut, np.int64))

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(n,) tokens in each text, special tokens not counted, nothing cut."""
        return np.fromiter((tokens for _, tokens in self._rows(texts, 0)), np.int64, len(texts))

    def spans(self, text: str) -> NDArray[np.int64]:
        """(t, 2) int64 start and end of each token in the text, in characters."""
        found = []
        start = 0
        for piece in _pieces(text):
            spans = np.array(self._backend.encode(piece, add_special_tokens=False).offsets, np.int64).reshape(-1, 2)
            found.append(spans + start)
            start += len(piece)
        return np.concatenate(found) if found else np.zeros((0, 2), np.int64)

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

    def _rows(self, texts: Sequence[str], room: int | None) -> Iterator[tuple[list[int], int]]:
        """For each text the first `room` ids without special ones, and how many there are in all."""
        for start in range(0, len(texts), SLICE):
            batch = list(texts[start : start + SLICE])
            if isinstance(texts, str) or not all(isinstance(text, str) for text in batch):
                raise SettingsError(f"texts: {_unfit(batch) or 'one str was passed; put it into a list'}")
            if max(map(len, batch)) > PIECE:
                yield from (self._long_row(text, room) for text in batch)
                continue
            for encoding in self._encode(batch):
                tokens = len(encoding)
                yield self._fitting(encoding.ids, room) if room != 0 else [], tokens

    def _long_row(self, text: str, room: int | None) -> tuple[list[int], int]:
        row: list[int] = []
        tokens = 0
        for piece in _pieces(text):
            encoding = self._encode([piece])[0]
            tokens += len(encoding)
            if room is None or self._cut_left or len(row) < room:
                row = self._fitting(row + encoding.ids, room)
        return row, tokens

    def _fitting(self, row: list[int], room: int | None) -> list[int]:
        if room is None or len(row) <= room:
            return row
        return row[-room:] if self._cut_left else row[:room]

    def _encode(self, batch: list[str]) -> list[Any]:
        try:
            encodings: list[Any] = self._backend.encode_batch_fast(batch, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise SettingsError(f"texts: {_unfit(batch) or error}") from error
        return encodings

    def _special(self, *names: str) -> int | None:
        return next((i for i in map(self.id_of, names) if i is not None), None)


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


def _unfit(batch: Sequence[Any]) -> str | None:
    for i, text in enumerate(batch):
        if not isinstance(text, str):
            return f"text {i} of this batch is {type(text).__name__}, expected str"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"text {i} of this batch holds half a surrogate pair at character {error.start}: {text[:40]!r}"
    return None
