"""Index files with something wrong in them: good ones of each kind, what is made wrong, and what a user then does.

`storm` writes and opens any number of them; tests/index/test_hostile.py a few hundred, benchmarks/bench_soundness.py a
hundred thousand. Most have valid checksums, as an attacker's would, so that the damage comes to what it means.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth import files
from firth.arrays import Vectors
from firth.compress import Axes, Product, Scalar
from firth.errors import FirthError
from firth.index import HNSW, Flat, hnsw
from firth.index.calibrate import Curve, Point

VECTORS = 120
HEADER = struct.Struct("<8sIII")  # magic, version, length of the JSON, its CRC-32
STRANGE: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64, -(2**63) - 1,
    10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", "x", "\0", "float64", "uint8", "hnsw", "flat", [], [[]],
    [0], [-1, 4], [2**40, 2**40], {}, {"codec": "scalar"},
]  # fmt: skip


@dataclass(frozen=True)
class Good:
    """A whole file: its header's JSON and the bytes of its arrays."""

    kind: type[HNSW] | type[Flat]
    name: str
    header: dict[str, Any]
    arrays: tuple[bytes, ...]
    string_keys: bool

    def bytes(self, header: dict[str, Any], arrays: list[bytes], *, sealed: bool) -> bytes:
        """The file of a changed header and changed arrays; `sealed`: with the checksums of what changed."""
        for at, raw in enumerate(arrays):
            if sealed and raw is not self.arrays[at]:
                header["arrays"][at]["crc32"] = zlib.crc32(raw)
        text = json.dumps(header).encode()
        out = bytearray(HEADER.pack(files.MAGIC, files.CONTAINER_VERSION, len(text), zlib.crc32(text)) + text)
        out += bytes(-len(out) % files.ALIGNMENT)
        for raw in arrays:
            out += raw + bytes(-len(raw) % files.ALIGNMENT)
        return bytes(out)


def goods(rows: Vectors, folder: Path) -> list[Good]:
    """An index of each kind, metric, codec and type of key, with removed vectors and freed places."""
    rows, names = rows[:VECTORS], [f"k{i}" for i in range(VECTORS)]
    small = {"m": 4, "ef_construction": 20, "threads": 1}
    made: list[tuple[str, HNSW | Flat]] = [("flat", Flat.build(rows, keys=names))]
    made.append(("flat, product codes", Flat.build(rows, codec=Product.train(rows, m=8, bits=4, seed=0, threads=1))))
    made.append(("flat, axes", Flat.build(rows, codec=Axes.train(rows, size=10))))
    made.append(("flat, scalar codes", Flat.build(rows, codec=Scalar.train(rows, bits=4), metric="euclid")))
    for name, settings in (
        ("hnsw, strings", {"keys": names}),
        ("hnsw, dot", {"metric": "dot"}),
        ("hnsw, no codec", {"codec": None, "metric": "euclid"}),
    ):
        index = HNSW.build(rows, **small, **settings)
        held = names if "keys" in settings else range(VECTORS)
        index.remove(held[:20])
        index.repair(threads=1)
        index.remove(held[20:25])
        index.curve = Curve((Point(10, 10, 0.9, 50.0), Point(10, 40, 0.99, 90.0)), VECTORS)
        made.append((name, index))
    return [_taken_apart(name, index, folder / "good") for name, index in made]


def damaged(rng: random.Random, good: Good) -> tuple[bytes, str]:
    """A file with something wrong in it, and how it came to be."""
    how = rng.choice(("bytes", "sealed bytes", "numbers", "numbers", "settings", "places", "cut"))
    if how == "bytes":
        raw = bytearray(good.bytes(good.header, list(good.arrays), sealed=False))
        for _ in range(rng.randint(1, 30)):
            raw[rng.randrange(len(raw))] = rng.choice((0, 255, 128, rng.randrange(256)))
        return bytes(raw), how
    if how == "cut":
        raw = bytearray(good.bytes(good.header, list(good.arrays), sealed=False))
        a, b = sorted((rng.randrange(len(raw)), rng.randrange(len(raw))))
        return bytes(rng.choice((raw[:a], raw[:a] + raw[b:], raw[:b] + raw[a:], raw + raw[a:b]))), how
    header, arrays = copy.deepcopy(good.header), list(good.arrays)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if how == "settings":
            _change(rng, header["meta"] if isinstance(header.get("meta"), dict) and rng.random() < 0.8 else header)
        elif how == "places":
            _change(rng, rng.choice(header["arrays"]))
        else:
            filled = [i for i, raw in enumerate(arrays) if raw]
            at = rng.choice(filled)
            dtype = "uint8" if how == "sealed bytes" else header["arrays"][at]["dtype"]
            arrays[at] = _scattered(rng, arrays[at], np.dtype(dtype))
    return good.bytes(header, arrays, sealed=rng.random() < 0.9), how


def use(rng: random.Random, good: Good, path: Path, queries: Vectors) -> bool:
    """Open the file and do what a user does; whether it opened. Any other exception than firth's own comes through."""
    try:
        index = good.kind.load(path, verify=rng.random() < 0.7)
    except FirthError:
        return False
    if isinstance(index, Flat):
        for k in (1, 20):
            _try(lambda k=k: _sound(index, queries[:2], k=k, threads=1))
        _try(lambda: index.search(queries[:2], 5, allow=_some(good, 7), threads=1))
        _try(lambda: index.add(["new"] if good.string_keys else [10**6], queries[:1]))
        _try(lambda: index.remove(_some(good, 2)))
        return True
    with walking(rng.random() < 0.7):
        steps: list[Callable[[], object]] = [
            lambda: _sound(index, queries[:2], k=5, ef=40),
            lambda: _sound(index, queries[:1], k=20),
            lambda: index.search(queries[:1], 5, ef=20, allow=_some(good, 40)),
            lambda: index.remove(_some(good, 3), threads=1),
            lambda: index.vectors(_some(good, 2)),
            lambda: index.unreachable,
            lambda: index.add(["new", "newer"] if good.string_keys else [10**6, 10**7], queries[:2], threads=1),
            lambda: index.repair(threads=1),
            lambda: index.save(path.with_name("again")),
        ]
        _try(steps[0])
        for step in rng.sample(steps, 4):
            _try(step)
        _try(steps[0])
    return True


def storm(
    rows: Vectors, queries: Vectors, folder: Path, number: int, seed: int, watch: Callable[[], object] = lambda: None
) -> Counter[str]:
    """So many damaged files opened and used, one after the other; how many were "refused" or "opened", by kind.

    The file that is being used lies at folder/damaged: what brings the process down is still there.

    Args:
        watch: called before each file.

    Raises:
        Exception: whatever is not a FirthError.
    """
    made, rng, seen = goods(rows, folder), random.Random(seed), Counter[str]()
    path = folder / "damaged"
    for _ in range(number):
        watch()
        good = rng.choice(made)
        raw, how = damaged(rng, good)
        path.unlink(missing_ok=True)  # a new file: an index that is still open keeps the old one
        path.write_bytes(raw)
        opened = use(rng, good, path, queries)
        seen[f"{good.name}, {how}: {'opened' if opened else 'refused'}"] += 1
    return seen


@contextmanager
def walking(wanted: bool) -> Iterator[None]:
    """Small indexes are walked through as large ones are, not scanned."""
    before = hnsw.EXACT_BELOW, hnsw.SCAN_BALANCE
    if wanted:
        hnsw.EXACT_BELOW, hnsw.SCAN_BALANCE = 0, 0
    try:
        yield
    finally:
        hnsw.EXACT_BELOW, hnsw.SCAN_BALANCE = before


def _taken_apart(name: str, index: HNSW | Flat, path: Path) -> Good:
    index.save(path)
    raw = path.read_bytes()
    length = HEADER.unpack_from(raw)[2]
    header = json.loads(raw[HEADER.size : HEADER.size + length])
    start = -(-(HEADER.size + length) // files.ALIGNMENT) * files.ALIGNMENT
    begins = [start + entry["offset"] for entry in header["arrays"]]
    arrays = [raw[begin : begin + entry["bytes"]] for begin, entry in zip(begins, header["arrays"], strict=True)]
    return Good(type(index), name, header, tuple(arrays), index.strings is not None)


def _change(rng: random.Random, holder: dict[str, Any]) -> None:
    """One value of a dict, or deep in it, is another, is gone, or is there under another name."""
    keys = list(holder)
    if not keys:
        return
    key = rng.choice(keys)
    inner = holder[key]
    how = rng.random()
    if isinstance(inner, dict) and how < 0.7:
        _change(rng, inner)
    elif isinstance(inner, list) and inner and how < 0.7:
        at = rng.randrange(len(inner))
        if isinstance(inner[at], dict) and how < 0.5:
            _change(rng, inner[at])
        else:
            inner[at] = copy.deepcopy(rng.choice(STRANGE))
    elif how < 0.9:
        near = [inner + 1, inner - 1, inner * 2, -inner] if isinstance(inner, int) else []
        holder[key] = copy.deepcopy(rng.choice(near if near and rng.random() < 0.4 else STRANGE))
    elif how < 0.95:
        del holder[key]
    else:
        holder[str(rng.choice(STRANGE))] = holder.pop(key)


def _scattered(rng: random.Random, raw: bytes, dtype: np.dtype[Any]) -> bytes:
    """Some values of an array, read as `dtype`, are others; or all are the same."""
    values = np.frombuffer(raw, dtype).copy()
    with np.errstate(all="ignore"):
        if dtype.kind == "f":
            strange = [np.nan, np.inf, -np.inf, 0, -1, 1e38, 1e-38, 1e20]
        else:
            info = np.iinfo(dtype)
            edges = (
                info.min,
                info.max,
                info.max - 1,
                0,
                1,
                2,
                VECTORS,
                VECTORS - 1,
                VECTORS + 1,
                rng.randint(0, info.max),
            )
            strange = [min(max(edge, info.min), info.max) for edge in edges]
        if rng.random() < 0.05:
            values[:] = rng.choice(strange)
        for _ in range(rng.choice((1, 3, 30, 300))):
            value = values[rng.randrange(len(values))] if rng.random() < 0.3 else rng.choice(strange)
            values[rng.randrange(len(values))] = value
    return values.tobytes()


def _some(good: Good, number: int) -> Any:
    return [f"k{i}" for i in range(30, 30 + number)] if good.string_keys else list(range(30, 30 + number))


def _sound(index: HNSW | Flat, queries: Vectors, *, k: int, **settings: int) -> None:
    near = index.search(queries, k, **settings)
    assert near.ids.shape == near.scores.shape == (len(queries), k)


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except FirthError:
        return
