"""What the owner calls the vectors: whole numbers from 0, or strings, which are then numbered in order of arrival.

An index stores one int64 a vector. For integer keys that is the key; for strings it is the serial number, given once
and never again, and `names` turns found ids back into strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, Ids
from firth.errors import FormatError, SettingsError

KeyList = Sequence[int] | Sequence[str] | NDArray[Any]


class Keys:
    """The names of an index's vectors. Only the index's one writer changes it."""

    def __init__(self) -> None:
        self.strings: list[str] | None = None  # serial number -> string; None when keys are integers
        self._serial: dict[str, int] = {}
        self._next = 0

    def name(self, keys: KeyList | None, n: int) -> Ids:
        """The ids of n new vectors; `keys` None numbers them on from the largest so far.

        Raises:
            SettingsError: another number of keys than vectors, integers mixed with strings, a key twice or below 0.
        """
        if keys is None:
            if self.strings is not None and n:
                raise SettingsError("keys: this index has string keys; give one for each new vector")
            return np.arange(self._next, self._next + n, dtype=np.int64)
        if len(keys) != n:
            raise SettingsError(f"keys: {len(keys)} keys for {n} vectors")
        if not n:
            return np.empty(0, np.int64)
        textual = _textual(keys)
        if textual != (self.strings is not None) and self._next:
            raise SettingsError("keys: an index has either integer or string keys, not both")
        if not textual:
            ids = _integers(keys)
            if ids.min() < 0:
                raise SettingsError(f"keys: {ids.min()} is below 0; -1 stands for no neighbour")
            if len(np.unique(ids)) != n:
                raise SettingsError(f"keys: {_first_twice(ids.tolist())} is there twice")
            return ids
        names = [str(key) for key in keys]
        if len(set(names)) != n:
            raise SettingsError(f"keys: {_first_twice(names)!r} is there twice")
        known = [name for name in names if name in self._serial]
        if known:
            raise SettingsError(f"keys: {known[0]!r} is in the index already; remove it first")
        return np.arange(self._next, self._next + n, dtype=np.int64)

    def accept(self, keys: KeyList | None, ids: Ids) -> None:
        """Note that vectors came in under these ids."""
        if keys is not None and len(ids) and _textual(keys):
            self.strings = self.strings if self.strings is not None else []
            for key, serial in zip(keys, ids.tolist(), strict=False):
                self.strings.append(str(key))
                self._serial[str(key)] = serial
        if len(ids):
            self._next = max(self._next, int(ids.max()) + 1)

    def drop(self, ids: Ids) -> None:
        """Forget the strings of removed vectors; their serial numbers stay used."""
        if self.strings is not None:
            for serial in ids.tolist():
                self._serial.pop(self.strings[serial], None)
                self.strings[serial] = ""

    def __contains__(self, key: str) -> bool:
        return key in self._serial

    def ids(self, keys: KeyList) -> Ids:
        """The ids of keys.

        Raises:
            SettingsError: a string key that is not in the index.
        """
        if not len(keys):
            return np.empty(0, np.int64)
        if self.strings is None:
            if _textual(keys):
                raise SettingsError(f"keys: {keys[0]!r} is a string; this index has integer keys")
            return _integers(keys)
        missing = [key for key in keys if str(key) not in self._serial]
        if missing:
            more = f"; {len(missing) - 1} more like it" if len(missing) > 1 else ""
            raise SettingsError(f"keys: {missing[0]!r} is not in the index{more}")
        return np.array([self._serial[str(key)] for key in keys], np.int64)

    def names(self, ids: Ids) -> list[Any]:
        """Keys in the shape of `ids`, nested lists; None where an id is -1."""
        if ids.ndim > 1:
            return [self.names(row) for row in ids]
        if self.strings is None:
            return [None if i == NO_ID else i for i in ids.tolist()]
        return [None if i == NO_ID else self.strings[i] for i in ids.tolist()]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a file keeps of the keys beside the int64 of each vector."""
        meta = {"next_key": self._next, "string_keys": self.strings is not None}
        if self.strings is None:
            return meta, {}
        blobs = [name.encode() for name in self.strings]
        ends = np.cumsum([len(blob) for blob in blobs], dtype=np.int64)
        return meta, {"key_bytes": np.frombuffer(b"".join(blobs), np.uint8), "key_ends": ends}

    @classmethod
    def restore(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]], held: Ids) -> Keys:
        """The keys that `state` described; `held` are the ids of the vectors that are there.

        Raises:
            FormatError: the strings do not cover the ids.
        """
        keys = cls()
        keys._next = int(meta["next_key"])
        if len(held) and (held.min() < 0 or held.max() >= keys._next):
            raise FormatError(f"damaged: a key lies outside of 0 … {keys._next - 1}")
        if meta["string_keys"]:
            ends, raw = arrays["key_ends"], arrays["key_bytes"].tobytes()
            if len(ends) != keys._next or (np.diff(ends, prepend=0) < 0).any() or (len(ends) and ends[-1] != len(raw)):
                raise FormatError("damaged: the ends of the string keys do not ascend to the end of their text")
            starts = [0, *ends[:-1].tolist()]
            keys.strings = [raw[a:b].decode() for a, b in zip(starts, ends.tolist(), strict=True)]
            keys._serial = {keys.strings[i]: i for i in held.tolist()}
        return keys


def _textual(keys: KeyList) -> bool:
    return isinstance(keys[0], str)


def _integers(keys: KeyList) -> Ids:
    array = np.asarray(keys)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SettingsError(f"keys: expected whole numbers or strings, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _first_twice(values: Iterable[Any]) -> Any:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
