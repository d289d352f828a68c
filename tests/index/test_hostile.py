"""A file from outside gives an error or an answer, never a crash, whatever bytes it holds and with valid checksums."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import files
from firth.arrays import Vectors
from firth.errors import FirthError, FormatError
from firth.index import HNSW, Flat

MUTATIONS = int(os.environ.get("FIRTH_MUTATIONS", "300"))  # of each kind of file
SEED = int(os.environ.get("FIRTH_SEED", "0"))  # a long run takes another for each of its rounds


def saved(rows: Vectors, path: Path, kind: Any) -> bytes:
    names = [f"k{i}" for i in range(300)]
    index = HNSW.build(rows[:300], m=4, ef_construction=20, keys=names) if kind is HNSW else Flat.build(rows[:300])
    if kind is HNSW:
        index.remove(names[:90])
    index.save(path)
    return path.read_bytes()


def resealed(raw: bytearray) -> bytes:
    """The same file with every checksum made right again, as an attacker would."""
    magic, version, length, _ = struct.unpack_from("<8sIII", raw)
    header = json.loads(raw[20 : 20 + length])
    start = -(-(20 + length) // 64) * 64
    for entry in header["arrays"]:
        begin = start + entry["offset"]
        # Same number of digits, so that nothing moves.
        crc = zlib.crc32(raw[begin : begin + entry["bytes"]])
        entry["crc32"] = crc
    text = json.dumps(header).encode()
    text += b" " * (length - len(text)) if len(text) <= length else b""
    if len(text) > length:
        return bytes(raw)
    raw[20 : 20 + length] = text
    struct.pack_into("<8sIII", raw, 0, magic, version, length, zlib.crc32(text))
    return bytes(raw)


def padded(raw: bytes) -> bytearray:
    """The file with room in its header for longer checksums."""
    _, version, length, _ = struct.unpack_from("<8sIII", raw)
    header = json.loads(raw[20 : 20 + length])
    text = json.dumps(header).encode() + b" " * 200
    start, fresh = -(-(20 + length) // 64) * 64, -(-(20 + len(text)) // 64) * 64
    head = struct.pack("<8sIII", raw[:8], version, len(text), zlib.crc32(text)) + text
    return bytearray(head + b"\0" * (fresh - len(head)) + raw[start:])


def open_and_use(kind: Any, path: Path, queries: Vectors, *, verify: bool) -> None:
    try:
        index = kind.load(path, verify=verify)
        for k in (1, 20):
            near = index.search(queries[:3], k)
            assert near.ids.shape == (3, k)
        if kind is HNSW:
            index.search(queries[:3], 5, ef=400)
            index.add(["new"], queries[:1])
            index.repair()
            index.search(queries[:3], 5, ef=60)
    except FirthError:
        return


@pytest.mark.parametrize("kind", [HNSW, Flat])
@pytest.mark.parametrize("seal", [True, False])
def test_mutated_bytes_give_an_error_or_an_answer(
    rows: Vectors, queries: Vectors, tmp_path: Path, kind: Any, seal: bool
) -> None:
    path = tmp_path / "x"
    clean = padded(saved(rows, path, kind))
    rng = np.random.default_rng([7, SEED])
    for _ in range(MUTATIONS):
        raw = bytearray(clean)
        for place in rng.integers(0, len(raw), rng.integers(1, 30)):
            raw[place] = rng.choice([0, 255, 128, int(rng.integers(256))])
        try:
            path.write_bytes(resealed(raw) if seal else raw)
        except (ValueError, KeyError, TypeError, struct.error):
            path.write_bytes(raw)
        open_and_use(kind, path, queries, verify=seal)


@pytest.mark.parametrize("name", ["blocks", "levels", "state", "upper_at", "upper", "keys", "norms"])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_column_of_nonsense_gives_an_error_or_an_answer(
    rows: Vectors, queries: Vectors, tmp_path: Path, name: str, value: int
) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=1)
    arrays = {key: np.array(array) for key, array in held.arrays.items()}
    arrays[name].view(np.uint8)[:] = value
    files.write_arrays(path, kind="hnsw", version=1, meta=held.meta, arrays=arrays)
    open_and_use(HNSW, path, queries, verify=True)


@pytest.mark.parametrize(
    "change",
    [
        {"entry": 10**6}, {"entry": -1}, {"entry": "x"}, {"m": 5}, {"m": 10**9}, {"dims": 63}, {"dims": 0},
        {"metric": "l3"}, {"metric": "dot"}, {"codec": {"codec": "zip"}}, {"codec": None}, {"codec": []},
        {"curve": "x"}, {"next_key": 3}, {"string_keys": False, "next_key": 2}, {"seed": -1}, {"seed": 2**70},
        {"ef_construction": -5}, {"longest": "far"}, {"dims": None}, {"curve": [[1]]},
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_columns_are_refused(rows: Vectors, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=1)
    files.write_arrays(path, kind="hnsw", version=1, meta=held.meta | change, arrays=held.arrays)
    with pytest.raises(FormatError, match="x: "):
        HNSW.load(path)


@pytest.mark.parametrize("name", ["blocks", "rows", "keys", "upper", "codec.centre", "key_ends", "key_bytes"])
@pytest.mark.parametrize("how", ["absent", "shorter", "other type"])
def test_a_column_that_is_absent_or_of_another_shape_is_refused(
    rows: Vectors, tmp_path: Path, name: str, how: str
) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=1)
    arrays = dict(held.arrays)
    if how == "absent":
        del arrays[name]
    elif how == "shorter":
        arrays[name] = arrays[name][:-1]
    else:
        arrays[name] = arrays[name].astype(np.float64)
    files.write_arrays(path, kind="hnsw", version=1, meta=held.meta, arrays=arrays)
    if name == "codec.centre" and how == "other type":
        return  # a codec takes any type of number
    with pytest.raises(FormatError, match="x: "):
        HNSW.load(path)


@pytest.mark.parametrize("keep", [0, 10, 100, 1000, 10_000, -1])
@pytest.mark.parametrize("kind", [HNSW, Flat])
def test_a_truncated_index_is_refused_by_name(rows: Vectors, tmp_path: Path, kind: Any, keep: int) -> None:
    path = tmp_path / "x"
    raw = saved(rows, path, kind)
    path.write_bytes(raw[:keep])
    with pytest.raises(FormatError, match="x: "):
        kind.load(path)
