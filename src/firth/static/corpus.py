"""A corpus as ids: text files or token lists in, one int32 a word out, with the vocabulary that names them.

    "the cat sat\nthe mat\n"  ->  ids 0 1 3 -1 0 2 -1   words the cat mat sat   counts 2 1 1 1

The text is read once: several threads count words and remember provisional ids, which are renamed when the counts are
known. Words stand by falling count, equal counts by their bytes, so the order does not depend on threads. A corpus
larger than `Counting.memory` lies in an unnamed temporary file and is mapped from there.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, MissingExtraError, SettingsError, TrainingError
from firth.kernels import default_threads
from firth.kernels import words as kernel
from firth.progress import Progress, silent

BLOCK = 8 << 20  # bytes read at a time
LONGEST_WORD = 64 << 20  # bytes; what is longer than this without a separator is not text
TOKENIZERS = {"spaces": kernel.SPACES, "unicode": kernel.UNICODE, "cased": kernel.CASED}

Source = str | Path | Sequence[str | Path] | Iterable[Sequence[str]]


@dataclass(frozen=True)
class Counting:
    """How a corpus is read.

    Attributes:
        min_count: rarer words are left out before windows are formed, as word2vec does.
        max_words: at most so many words, the most frequent; 0 = all.
        tokenizer: "spaces" splits at ASCII white space and keeps case; "unicode" finds words by their letters in
            any script and makes them lower-case, "cased" keeps their case. Token lists are taken as they are.
        memory: bytes of ids kept in memory before the disk is used.
    """

    min_count: int = 5
    max_words: int = 0
    tokenizer: str = "spaces"
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        if self.min_count < 1 or self.max_words < 0 or self.memory < 0:
            raise SettingsError(f"counting: min_count must be 1 or more, max_words and memory 0 or more; got {self}")
        if self.tokenizer not in TOKENIZERS:
            raise SettingsError(f"tokenizer {self.tokenizer!r}: expected one of {', '.join(TOKENIZERS)}")


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words and how often each was seen, most frequent first.

    Attributes:
        words: v words.
        counts: (v,) int64.
    """

    words: list[str]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self.ids

    @cached_property
    def ids(self) -> dict[str, int]:
        """The place of each word."""
        return {word: i for i, word in enumerate(self.words)}


@dataclass(frozen=True)
class Corpus:
    """Text as ids.

    Attributes:
        ids: (t,) int32, -1 after each sentence that kept a word; words outside the vocabulary are left out.
        vocabulary: what the ids name.
        tokens: words read, those outside the vocabulary included.
        distinct: different words read.
        tokenizer: how the text was split; "tokens" where it came as token lists.
    """

    ids: NDArray[np.int32]
    vocabulary: Vocabulary
    tokens: int
    distinct: int
    tokenizer: str

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of the ids: tells whether a saved training belongs to this corpus."""
        return zlib.crc32(memoryview(self.ids).cast("B"))


def count(
    source: Source,
    settings: Counting | None = None,
    *,
    known: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress = silent,
) -> Corpus:
    """Read and count a corpus.

    Args:
        source: a text file or several (.gz and .zst are opened as they are), a sentence or paragraph a line; or an
            iterable of token lists, which is walked through once.
        known: words that keep their ids 0, 1, … whatever their counts; others follow.
        threads: how many count; None = every core.

    Raises:
        DataError: a file is not UTF-8 (names the byte), or is a damaged archive.
        TrainingError: no word is left for the vocabulary; says how often the most frequent was seen.
    """
    settings = settings or Counting()
    if isinstance(source, str | Path):
        source = [source]
    if isinstance(source, Sequence) and all(isinstance(item, str | Path) for item in source):
        paths = [Path(item) for item in source if isinstance(item, str | Path)]
        counter = _counter(settings, TOKENIZERS[settings.tokenizer], threads)
        for i, path in enumerate(paths):
            _add_file(counter, path, progress, remark=f"file {i + 1} of {len(paths)}")
        return _finish(counter, settings, settings.tokenizer, known, threads)
    counter = _counter(settings, kernel.TOKENS, threads)
    _add_blocks(counter, _token_blocks(source), "token list", progress)  # type: ignore[arg-type]
    return _finish(counter, settings, "tokens", known, threads)


def count_texts(
    texts: Iterable[str],
    settings: Counting | None = None,
    *,
    known: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress = silent,
) -> Corpus:
    """The same for texts in memory; a line end inside a text ends a sentence."""
    settings = settings or Counting()
    counter = _counter(settings, TOKENIZERS[settings.tokenizer], threads)
    _add_blocks(counter, ((text + "\n").encode(errors="replace") for text in texts), "text", progress)
    return _finish(counter, settings, settings.tokenizer, known, threads)


def _counter(settings: Counting, kind: int, threads: int | None) -> Any:
    team = threads or default_threads()
    return kernel.counter(kind, threads=team, budget=settings.memory, folder=tempfile.gettempdir())


def _finish(counter: Any, settings: Counting, tokenizer: str, known: Sequence[str], threads: int | None) -> Corpus:
    words, offsets = kernel.joined(known)
    counter.finish(settings.min_count, settings.max_words, words, offsets)
    vocabulary = Vocabulary(counter.words(), np.empty(len(counter.words()), np.int64))
    counter.counts(vocabulary.counts)
    if counter.kept == 0:
        seen = f"the most frequent of {counter.distinct:,} was seen {counter.highest:,} times" if counter.tokens else ""
        raise TrainingError(
            f"no word reaches min_count={settings.min_count}: {seen}; lower it or read more text"
            if seen
            else "the corpus holds no word: is it the right file?"
        )
    ids = _room(counter.bound, settings.memory)
    used = counter.encode(ids, threads or default_threads())
    return Corpus(ids[:used], vocabulary, counter.tokens, counter.distinct, tokenizer)


def _room(n: int, memory: int) -> NDArray[np.int32]:
    if n * 4 <= memory:
        return np.empty(n, np.int32)
    with tempfile.TemporaryFile(prefix="firth-ids-") as file:
        return np.memmap(file, np.int32, "w+", shape=(n,))


def _add_file(counter: Any, path: Path, progress: Progress, remark: str) -> None:
    size = path.stat().st_size
    buffer = bytearray(BLOCK)
    held = position = 0  # bytes of the buffer that wait; where in the text the buffer begins
    with _open(path) as file:
        while True:
            if held == len(buffer):
                if held >= LONGEST_WORD:
                    raise DataError(f"byte {position:,}: no end of word within {held >> 20} MB; is it text?", path=path)
                buffer.extend(bytes(len(buffer)))
            read = _read_into(file, memoryview(buffer)[held:], path)
            if position == 0 and held == 0 and buffer.startswith(b"\xef\xbb\xbf"):
                buffer[:3] = b"   "  # a byte order mark is no part of the first word
            held += read
            block = np.frombuffer(buffer, np.uint8, held)
            consumed, invalid = counter.add(block, read == 0)
            del block  # a bytearray that is looked at cannot grow
            if invalid < held:
                raise _not_utf8(path, position + invalid, buffer[invalid])
            buffer[: held - consumed] = buffer[consumed:held]
            position += consumed
            held -= consumed
            progress(min(position, size) if path.suffix not in (".gz", ".zst") else position, size, remark)
            if read == 0:
                return


def _read_into(file: IO[bytes], room: memoryview, path: Path) -> int:
    done = 0
    try:
        while done < len(room):
            read = file.readinto(room[done:])  # type: ignore[attr-defined]
            if not read:
                break
            done += read
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"the archive is damaged or cut off: {error}", path=path) from error
    return done


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path), BLOCK)
    if path.suffix == ".zst":
        return _open_zst(path)
    return path.open("rb", buffering=0)


def _open_zst(path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("zstandard", "zstd", f"reading {path.name}") from error
    file: IO[bytes] = zstandard.open(path, "rb")
    return file


def _token_blocks(lists: Iterable[Sequence[str]]) -> Iterator[bytes]:
    for i, tokens in enumerate(lists):
        if isinstance(tokens, str):
            raise DataError(f"sentence {i} is one string, expected a list of tokens; texts belong to count_texts")
        line = kernel.UNIT.join(tokens)
        if kernel.RECORD in line or line.count(kernel.UNIT) >= max(len(tokens), 1):
            raise DataError(f"sentence {i}: a token holds one of the control characters U+001E and U+001F")
        yield (line + kernel.RECORD).encode(errors="replace")


def _add_blocks(counter: Any, pieces: Iterable[bytes], what: str, progress: Progress) -> None:
    waiting: list[bytes] = []
    size = done = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        done += 1
        if size >= BLOCK:
            counter.add(np.frombuffer(b"".join(waiting), np.uint8), True)
            progress(done, 0, what)
            waiting, size = [], 0
    if waiting:
        counter.add(np.frombuffer(b"".join(waiting), np.uint8), True)
    progress(done, done, what)


def _not_utf8(path: Path, position: int, byte: int) -> DataError:
    return DataError(f"byte {position:,} (0x{byte:02x}) is not UTF-8; convert it: iconv -f latin1 -t utf-8", path=path)
