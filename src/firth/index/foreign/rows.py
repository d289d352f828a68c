"""Bare vectors in other programs' files: .npy of NumPy, .fvecs and .bvecs of the TEXMEX corpora.

An .fvecs file is rows of one int32 width and that many float32, a .bvecs file of one int32 width and that many bytes,
both little-endian. Source: http://corpus-texmex.irisa.fr (Jégou et al. 2011).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.arrays import Vectors, as_vectors
from firth.errors import DataError, FormatError, SettingsError

KINDS = (".npy", ".fvecs", ".bvecs")
_VALUES: dict[str, np.dtype[Any]] = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1")}


def read_rows(path: Path | str) -> Vectors:
    """(n, d) float32 rows of a .npy, .fvecs or .bvecs file; a float32 .npy stays memory-mapped.

    Raises:
        DataError: no such file, or not one of the three kinds.
        FormatError: cut off, or rows of different widths.
        ShapeError: not (n, d) finite numbers.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise DataError("no such file", path=path)
    if kind in _VALUES:
        return as_vectors(_read_vecs(path, _VALUES[kind]), name=str(path))
    try:
        return as_vectors(np.load(path, mmap_mode="r", allow_pickle=False), name=str(path))
    except (ValueError, EOFError) as error:
        if isinstance(error, DataError) or kind == ".npy":
            raise FormatError(f"not a .npy of numbers: {error}", path=path) from error
        raise DataError(f"expected vectors in one of {', '.join(KINDS)}", path=path) from error


def write_rows(path: Path | str, vectors: Vectors) -> None:
    """The rows as float32 .npy or .fvecs, by the file's name, whole or not at all.

    Raises:
        SettingsError: another kind of file.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".npy", ".fvecs"):
        raise SettingsError(f"{path}: vectors are written as .npy or .fvecs")
    rows = np.ascontiguousarray(vectors, "<f4")
    with files.write_whole(path) as file:
        if kind == ".npy":
            np.lib.format.write_array(file, rows, allow_pickle=False)
            return
        wide = np.empty((len(rows), rows.shape[1] + 1), "<f4")
        wide[:, :1].view("<i4")[:] = rows.shape[1]
        wide[:, 1:] = rows
        file.write(wide.tobytes())


def _read_vecs(path: Path, values: np.dtype[Any]) -> NDArray[Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    if len(head) < 4:
        raise FormatError(f"cut off: {size} bytes are not a row", path=path)
    width = int(np.frombuffer(head, "<i4")[0])
    row = 4 + width * values.itemsize
    if width < 1 or row > size or size % row:
        raise FormatError(f"{size:,} bytes are not rows of {width:,} values ({row:,} bytes each)", path=path)
    raw = np.memmap(path, np.uint8, "r").reshape(-1, row)
    widths = np.ascontiguousarray(raw[:, :4]).view("<i4")[:, 0]
    if (widths != width).any():
        other = int(np.flatnonzero(widths != width)[0])
        raise FormatError(f"row {other:,} says it has {widths[other]:,} values, row 0 has {width:,}", path=path)
    return np.ascontiguousarray(raw[:, 4:]).view(values)
