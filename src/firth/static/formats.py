"""Files of word vectors: the five that people exchange, read and written.

    format            suffix          layout
    word2vec-text     .txt .vec       "v d", then a line a word: word number number …      fastText's .vec is the same
    word2vec-binary   .bin            "v d", then word, space, d little-endian float32, each
    glove             (by name)       as word2vec-text, without the first line
    safetensors       .safetensors    embeddings (v, d) F32, words U8, word_ends I64, counts I64; memory-mapped

A reader looks at the content, not only at the name: a .txt with or without its first line is told by that line. What
cannot be right is refused, named by line or byte: counts that do not match, numbers that are missing, NaN or infinite,
words twice, words that hold a space, files that end too early.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, FormatError, SettingsError
from firth.files import write_whole
from firth.kernels import default_threads, words_text
from firth.static import tensors
from firth.static.vectors import WordVectors

FORMATS = ("word2vec-text", "word2vec-binary", "glove", "safetensors")
SUFFIXES = {".txt": "word2vec-text", ".vec": "word2vec-text", ".bin": "word2vec-binary", ".safetensors": "safetensors"}
ROWS_AT_ONCE = 4096  # written in one piece
LAYOUT = "firth-words/1"  # in the metadata of our safetensors files
LARGEST = float(np.finfo(np.float32).max)
MOST_DIMS = 1 << 20  # a first line that asks for more is damage

Bytes = NDArray[np.uint8]


def save(vectors: WordVectors, path: Path | str, layout: str | None = None) -> None:
    """Write `vectors`, whole or not at all.

    Args:
        layout: one of `FORMATS`; None = by the suffix.

    Raises:
        SettingsError: the format is not known.
        DataError: the format cannot hold one of the words.
    """
    path = Path(path)
    kind = layout or SUFFIXES.get(path.suffix)
    if kind not in FORMATS:
        raise SettingsError(
            f"{path}: format {layout or path.suffix!r} is not known; expected one of {', '.join(FORMATS)}"
        )
    if kind == "safetensors":
        tensors.write(path, arrays_of(vectors), {"format": LAYOUT, "about": json.dumps(vectors.about)})
        return
    _check_words(vectors.words, kind)
    with write_whole(path) as file:
        if kind != "glove":
            file.write(f"{len(vectors)} {vectors.dims}\n".encode())
        for i in range(0, len(vectors), ROWS_AT_ONCE):
            words, rows = vectors.words[i : i + ROWS_AT_ONCE], vectors.vectors[i : i + ROWS_AT_ONCE]
            if kind == "word2vec-binary":
                pairs = zip(words, np.asarray(rows, "<f4"), strict=True)
                file.write(b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in pairs))
            else:
                file.write(words_text.write_rows(words, rows))


def load(path: Path | str, *, layout: str | None = None, spaces: bool = False) -> WordVectors:
    """Read a file of any of the formats; .gz is opened as it is.

    Args:
        layout: one of `FORMATS`; None = by the suffix and the content.
        spaces: in text, take what stands before the last d numbers as the word, spaces and all (GloVe's 840B file).

    Raises:
        FormatError: the file is not what it says; names the line or the byte.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError("there is no such file", path=path)
    inner = Path(path.stem) if path.suffix == ".gz" else path
    kind = layout or SUFFIXES.get(inner.suffix)
    if kind == "safetensors":
        return _load_safetensors(path)
    data = _bytes(path)
    if kind is None:
        kind = "word2vec-binary" if _looks_binary(data) else "word2vec-text"
    if kind == "word2vec-binary":
        return _load_binary(path, data)
    return _load_text(path, data, spaces, header=None if layout is None else kind != "glove")


def arrays_of(vectors: WordVectors) -> dict[str, NDArray[Any]]:
    """The named arrays that a safetensors file of word vectors holds."""
    encoded = [word.encode() for word in vectors.words]
    arrays: dict[str, NDArray[Any]] = {
        "embeddings": np.asarray(vectors.vectors, np.float32),
        "words": np.frombuffer(b"".join(encoded), np.uint8),
        "word_ends": np.cumsum([len(word) for word in encoded], dtype=np.int64),
    }
    if vectors.counts is not None:
        arrays["counts"] = np.asarray(vectors.counts, np.int64)
    return arrays


def vectors_of(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> WordVectors:
    """Word vectors out of the arrays of a safetensors file, checked."""
    if metadata.get("format") != LAYOUT:
        raise FormatError(f"its format is {metadata.get('format')!r}, expected {LAYOUT!r}; is it a model's?", path=path)
    missing = {"embeddings", "words", "word_ends"} - set(arrays)
    if missing or arrays["embeddings"].ndim != 2:
        raise FormatError(
            f"word vectors need the arrays embeddings (v, d), words and word_ends; got {sorted(arrays)}", path=path
        )
    ends, text = arrays["word_ends"], arrays["words"].tobytes()
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    if (
        len(ends) != len(arrays["embeddings"])
        or (np.diff(ends, prepend=0) < 0).any()
        or (len(ends) and ends[-1] != len(text))
    ):
        raise FormatError("damaged: word_ends does not cut words into one a row", path=path)
    words = _words(path, text, starts, ends - starts, lambda i: f"word {i}")
    counts = arrays.get("counts")
    if counts is not None and counts.shape != (len(words),):
        raise FormatError(f"damaged: {len(words):,} words but counts of shape {counts.shape}", path=path)
    try:
        about = json.loads(metadata.get("about", "{}"))
    except ValueError as error:
        raise FormatError(f"damaged: its about is not JSON: {error}", path=path) from error
    return WordVectors(words, arrays["embeddings"], counts, about=about)


def _load_safetensors(path: Path) -> WordVectors:
    vectors = vectors_of(path, *tensors.read(path))
    for i in range(0, len(vectors), ROWS_AT_ONCE):
        rows = vectors.vectors[i : i + ROWS_AT_ONCE]
        if not np.isfinite(rows).all():
            bad = i + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise FormatError(f"word {bad} ({vectors.words[bad]!r}): its vector holds NaN or infinity", path=path)
    return vectors


def _load_text(path: Path, data: Bytes, spaces: bool, header: bool | None) -> WordVectors:
    starts = words_text.line_starts(data)
    if len(starts) < 2:
        raise FormatError("the file is empty", path=path)
    first = data[: starts[1]].tobytes().split()
    told = len(first) == 2 and all(field.isdigit() for field in first)
    if header is None:
        header = told
    elif header and not told:
        raise FormatError("expected the counts of words and dimensions, like 1000 100", path=path, line=1)
    offset = 1 if header else 0
    dims = int(first[1]) if header else len(first) - 1
    if not 1 <= dims <= MOST_DIMS:
        raise FormatError(f"{dims} dimensions are impossible", path=path, line=1)
    rows = len(starts) - 1 - offset
    if header and rows != int(first[0]):
        what = "the file is cut off" if rows < int(first[0]) else "some lines are too many"
        raise FormatError(f"line 1 announces {int(first[0]):,} words, {rows:,} lines follow; {what}", path=path)
    vectors, lengths, row, fault = words_text.text_rows(
        data, starts[offset:], dims, spaces=spaces, threads=default_threads()
    )
    if fault:
        line = data[starts[offset + row] : starts[offset + row + 1]].tobytes().decode(errors="replace")
        raise FormatError(_text_fault(fault, line, dims), path=path, line=row + 1 + offset)
    text = data.tobytes()
    words = _words(path, text, starts[offset:-1], lengths, lambda i: f"line {i + 1 + offset}")
    return WordVectors(words, vectors)


def _text_fault(fault: str, line: str, dims: int) -> str:
    fields = line.split()
    shown = line[:40].rstrip("\n") + ("…" if len(line) > 40 else "")
    if fault in ("few", "many"):
        why = "the line is cut off" if fault == "few" else "the word holds a space: load(path, spaces=True) accepts it"
        return f"expected a word and {dims} numbers, got {len(fields)} fields ({shown!r}); {why}"
    if fault == "no word":
        return f"begins with a space instead of a word ({shown!r})"
    for i, field in enumerate(fields[1:]):
        value = _float(field)
        if value is None or not abs(value) <= LARGEST:
            what = "not a number" if value is None else "NaN or infinite"
            return f"number {i + 1} of {fields[0]!r} is {field!r}, {what}"
    return f"cannot be read ({shown!r})"


def _load_binary(path: Path, data: Bytes) -> WordVectors:
    end = data[: 64 + 1].tobytes().find(b"\n")
    fields = data[: max(end, 0)].tobytes().split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        raise FormatError(
            "does not begin with the counts of words and dimensions; is it word2vec's binary format?", path=path
        )
    count, dims = int(fields[0]), int(fields[1])
    if not 1 <= dims <= MOST_DIMS or count * (dims * 4 + 1) > len(data):
        raise FormatError(
            f"cut off: {count:,} words of {dims} dimensions need at least {count * (dims * 4 + 2):,} bytes, "
            f"the file has {len(data):,}",
            path=path,
        )
    vectors, starts, lengths, whole, at = words_text.binary_rows(data, end + 1, count, dims)
    if whole < count:
        raise FormatError(f"byte {at:,}: cut off in word {whole + 1:,} of {count:,}", path=path)
    if data[at:].tobytes().strip():
        raise FormatError(f"byte {at:,}: {len(data) - at:,} bytes follow the last of {count:,} words", path=path)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise FormatError(f"byte {starts[bad]:,}: the vector of word {bad + 1:,} holds NaN or infinity", path=path)
    return WordVectors(_words(path, data.tobytes(), starts, lengths, lambda i: f"byte {starts[i]:,}"), vectors)


def _words(
    path: Path, text: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64], place: Callable[[int], str]
) -> list[str]:
    """Words by their places in the text; refuses what is not UTF-8 and what stands twice."""
    words: list[str] = []
    try:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            words.append(text[start : start + length].decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{place(len(words))}: a word is not UTF-8: {error.object!r}", path=path) from error
    if len(set(words)) < len(words):
        seen: dict[str, int] = {}
        for i, word in enumerate(words):
            if word in seen:
                raise FormatError(f"{place(i)}: {word!r} stands twice, first at {place(seen[word])}", path=path)
            seen[word] = i
    return words


def _check_words(words: list[str], kind: str) -> None:
    for i, word in enumerate(words):
        if not word or any(char in word for char in " \t\n\r"):
            raise DataError(f"word {i} is {word!r}: {kind} cannot hold white space or nothing; save as .safetensors")


def _bytes(path: Path) -> Bytes:
    if path.suffix == ".gz":
        try:
            return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FormatError(f"the archive is damaged or cut off: {error}", path=path) from error
    if path.stat().st_size == 0:
        raise FormatError("the file is empty", path=path)
    return np.memmap(path, np.uint8, "r")


def _looks_binary(data: Bytes) -> bool:
    head = data[:4096].tobytes()
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start < len(head) - 3  # not only a character that the head cuts in two
    return b"\0" in head


def _float(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
