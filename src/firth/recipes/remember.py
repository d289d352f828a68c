"""An encoder that remembers: a text that was encoded before is read from a file, by the hash of its content.

For hosted models, where every token is paid for, and for a suite that is interrupted and goes on.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from firth.arrays import Encoder, Vectors
from firth.errors import FormatError, StorageError
from firth.progress import bar

AT_ONCE = 1_024  # texts encoded between two commits; an interruption loses at most these
_ASKED = 900  # keys of one SELECT; SQLite takes 999 in its oldest builds
_WORD = "firth"  # whose vector tells the width
_WAIT = 60.0  # seconds for another process that writes


class Remembering:
    """Wraps an encoder; `fresh` and `known` count the texts that were encoded and those that were remembered."""

    def __init__(self, encoder: Encoder, path: Path | str) -> None:
        self.encoder = encoder
        self.path = Path(path)
        self.fresh = self.known = self._dims = 0

    @property
    def dims(self) -> int:
        """Width of the vectors: of a remembered word, because a hosted model would have to be paid for its answer."""
        if not self._dims:
            self._dims = self.encode([_WORD]).shape[1]
        return self._dims

    @property
    def fingerprint(self) -> str:
        """The wrapped encoder's."""
        return self.encoder.fingerprint

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, d) float32 unit rows, encoded once for each different text, kind and width.

        Raises:
            FormatError: the file is damaged; names it.
            StorageError: it cannot be written.
        """
        if not len(texts):
            return self.encoder.encode(texts, kind=kind, dims=dims)
        keys = [self._key(text, kind, dims) for text in texts]
        unique = dict(zip(keys, texts, strict=True))
        with self._opened() as file, bar("encoding", shown=progress) as told:
            rows = dict(_read(file, list(unique)))
            self.known += len(rows)
            # Longest last, so that a block holds texts of like length.
            missing = sorted((key for key in unique if key not in rows), key=lambda key: len(unique[key]))
            for start in range(0, len(missing), AT_ONCE):
                block = missing[start : start + AT_ONCE]
                made = self.encoder.encode([unique[key] for key in block], kind=kind, dims=dims)
                _write(file, block, made)
                rows |= dict(zip(block, made, strict=True))
                self.fresh += len(block)
                told(start + len(block), len(missing), "texts")
        widths = {len(row) for row in rows.values()}
        if len(widths) > 1:
            raise FormatError(f"holds vectors of {sorted(widths)} dimensions for one model; delete it", path=self.path)
        return np.stack([rows[key] for key in keys])

    def _key(self, text: str, kind: str | None, dims: int | None) -> bytes:
        digest = hashlib.sha256()
        for part in (self.encoder.fingerprint, kind or "", str(dims or 0), text):
            raw = part.encode(errors="surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
        return digest.digest()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=_WAIT)
        except (OSError, sqlite3.OperationalError) as error:
            raise StorageError(f"{self.path}: cannot be opened for remembered vectors: {error}") from error
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID")
            yield file
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path}: {error}; is there room, and may it be written?") from error
        except sqlite3.DatabaseError as error:
            told = f"is damaged ({error}); delete it, its vectors will be made again"
            raise FormatError(told, path=self.path) from error
        finally:
            file.close()


def _read(file: sqlite3.Connection, keys: list[bytes]) -> Iterator[tuple[bytes, Vectors]]:
    for start in range(0, len(keys), _ASKED):
        some = keys[start : start + _ASKED]
        marks = ",".join("?" * len(some))
        for key, row in file.execute(f"SELECT key, row FROM vectors WHERE key IN ({marks})", some):
            yield key, np.frombuffer(row, np.dtype("<f4"))


def _write(file: sqlite3.Connection, keys: list[bytes], rows: Vectors) -> None:
    made = np.ascontiguousarray(rows, np.dtype("<f4"))
    with file:  # one transaction: all of the block or none
        file.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            ((key, row.tobytes()) for key, row in zip(keys, made, strict=True)),
        )
