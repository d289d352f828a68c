"""Which vectors may appear in an answer: keys, or a boolean row indexed by integer key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids
from firth.errors import SettingsError
from firth.index.keys import KeyList, Keys

Allow = KeyList | NDArray[np.bool_] | Sequence[Any]


def allowed_rows(allow: Allow, held: Ids, keys: Keys) -> NDArray[np.bool_]:
    """(n,) True where the vector with id held[i] may appear.

    Raises:
        SettingsError: keys of the wrong type, or a boolean row for an index with string keys.
    """
    array = np.asarray(allow)
    if array.dtype == np.bool_:
        if keys.strings is not None:
            raise SettingsError("allow: a boolean row needs integer keys; this index has strings: pass the keys")
        inside = (held >= 0) & (held < len(array))
        mask: NDArray[np.bool_] = np.zeros(len(held), bool)
        mask[inside] = array[held[inside]]
        return mask
    if not len(array):
        return np.zeros(len(held), bool)
    # A filter may name what has been removed since; only the wrong type of key is an error.
    known = array.tolist() if keys.strings is None else [key for key in array.tolist() if key in keys]
    return np.isin(held, keys.ids(known))


def as_bitmap(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(⌈n/64⌉,) uint64, bit i of the whole row is mask[i]."""
    packed = np.packbits(mask, bitorder="little")
    return np.pad(packed, (0, -len(packed) % 8)).view("<u8").astype(np.uint64, copy=False)
