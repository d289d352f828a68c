"""safetensors files that are memory-mapped: an 8-byte length, a JSON header, then the arrays as they lie in memory.

The published reader copies each array out of the file; word vectors are mapped instead, so that opening three million
of them takes milliseconds. A file from outside is hostile until checked: its header's length, types, shapes, offsets.
Format: huggingface/safetensors, README "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.files import write_whole

LONGEST_HEADER = 100 << 20  # bytes, the format's own limit
_TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}


def write(path: Path | str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """One file with named arrays, whole or not at all; wider types first, so that each lies on its own multiple."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    offset = 0
    for name, array in ordered:
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with write_whole(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).data)


def read(path: Path | str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays (read-only memory maps) and the metadata of a file.

    Raises:
        FormatError: not a safetensors file, cut off, or with an impossible header; names what and the byte.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise FormatError(f"not a safetensors file: a header of {length:,} bytes in {size:,}", path=path)
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"not a safetensors file: its header is not JSON: {error}", path=path) from error
    if not isinstance(header, dict):
        raise FormatError("not a safetensors file: its header is not an object", path=path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("its __metadata__ is not a table of texts", path=path)
    return {name: _mapped(path, name, entry, 8 + length, size) for name, entry in header.items()}, metadata


def _mapped(path: Path, name: str, entry: Any, start: int, size: int) -> NDArray[Any]:
    try:
        kind, shape, (begin, end) = _TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        items = 1
        for n in shape:
            items *= int(n)
        sound = all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"array {name!r}: cannot be read as {entry!r}", path=path) from error
    if not sound or end - begin != items * np.dtype(kind).itemsize:
        raise FormatError(f"array {name!r}: {shape} of {entry['dtype']} is not {end - begin:,} bytes", path=path)
    if start + end > size:
        raise FormatError(
            f"cut off: array {name!r} ends at byte {start + end:,}, the file at {size:,}; copy it again", path=path
        )
    if items == 0:
        return np.empty(shape, kind)
    return np.memmap(path, kind, "r", start + begin, shape)
