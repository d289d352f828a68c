"""A file from outside gives an error or an answer, never a crash, whatever bytes it holds and with valid checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import files
from firth.arrays import Vectors
from firth.errors import FirthError, FormatError
from firth.index import HNSW, Flat
from firth.index.hnsw_file import VERSION
from index.damaged import storm

MUTATIONS = 600  # for each seed; benchmarks/bench_soundness.py tries a hundred thousand
KINDS = 7  # of index


def saved(rows: Vectors, path: Path, kind: Any) -> bytes:
    names = [f"k{i}" for i in range(300)]
    index = HNSW.build(rows[:300], m=4, ef_construction=20, keys=names) if kind is HNSW else Flat.build(rows[:300])
    if kind is HNSW:
        index.remove(names[:90])
    index.save(path)
    return path.read_bytes()


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


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_an_error_or_an_answer(rows: Vectors, queries: Vectors, tmp_path: Path, seed: int) -> None:
    seen = storm(rows[:, :32], queries[:4, :32], tmp_path, MUTATIONS, seed)
    assert sum(seen.values()) == MUTATIONS
    for outcome in ("opened", "refused"):  # damage comes to each kind of index, and is noticed in each
        assert len({what.rpartition(", ")[0] for what in seen if what.endswith(outcome)}) == KINDS


@pytest.mark.parametrize(("name", "value"), [("step", 1e-40), ("step", 0), ("step", 1e38), ("centre", 3e38)])
def test_a_codec_whose_values_overflow_is_refused(rows: Vectors, tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    changed = np.array(held.arrays[f"codec.{name}"])
    changed[5] = value
    files.write_arrays(
        path, kind="hnsw", version=VERSION, meta=held.meta, arrays=held.arrays | {f"codec.{name}": changed}
    )
    with pytest.raises(FormatError, match=r"x: .*damaged scalar codec: steps of"):
        HNSW.load(path)


@pytest.mark.parametrize("dims", [10**6, 2**32 - 1])
def test_a_false_width_is_refused_before_memory_is_taken_for_it(rows: Vectors, tmp_path: Path, dims: int) -> None:
    path = tmp_path / "x"
    HNSW.build(rows[:50], codec=None, metric="euclid").save(path)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    files.write_arrays(path, kind="hnsw", version=VERSION, meta=held.meta | {"dims": dims}, arrays=held.arrays)
    with pytest.raises(FormatError, match=f"expected \\(…, {dims}\\)"):
        HNSW.load(path)


@pytest.mark.parametrize("change", [{"dims": float("inf")}, {"next_key": float("inf")}, {"dims": 10**30}])
def test_settings_of_a_flat_index_beyond_all_numbers_are_refused(rows: Vectors, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "x"
    Flat.build(rows[:50]).save(path)
    held = files.read_arrays(path, kind="flat", version=1)
    files.write_arrays(path, kind="flat", version=1, meta=held.meta | change, arrays=held.arrays)
    with pytest.raises(FormatError, match="x: "):
        Flat.load(path)


@pytest.mark.parametrize("name", ["blocks", "low", "levels", "state", "upper_at", "upper", "keys", "norms"])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_column_of_nonsense_gives_an_error_or_an_answer(
    rows: Vectors, queries: Vectors, tmp_path: Path, name: str, value: int
) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    arrays = {key: np.array(array) for key, array in held.arrays.items()}
    arrays[name].view(np.uint8)[:] = value
    files.write_arrays(path, kind="hnsw", version=VERSION, meta=held.meta, arrays=arrays)
    open_and_use(HNSW, path, queries, verify=True)


@pytest.mark.parametrize(
    "change",
    [
        {"entry": 10**6}, {"entry": -1}, {"entry": "x"}, {"m": 5}, {"m": 10**9}, {"dims": 63}, {"dims": 0},
        {"metric": "l3"}, {"metric": "dot"}, {"codec": {"codec": "zip"}}, {"codec": None}, {"codec": []},
        {"curve": "x"}, {"next_key": 3}, {"string_keys": False, "next_key": 2}, {"seed": -1}, {"seed": 2**70},
        {"ef_construction": -5}, {"longest": "far"}, {"longest": 1e300}, {"longest": -1}, {"dims": None},
        {"curve": [[1]]}, {"dimension": -1}, {"dimension": float("nan")}, {"dimension": "x"},
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_columns_are_refused(rows: Vectors, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    files.write_arrays(path, kind="hnsw", version=VERSION, meta=held.meta | change, arrays=held.arrays)
    with pytest.raises(FormatError, match="x: "):
        HNSW.load(path)


@pytest.mark.parametrize("name", ["blocks", "low", "rows", "keys", "upper", "codec.centre", "key_ends", "key_bytes"])
@pytest.mark.parametrize("how", ["absent", "shorter", "other type"])
def test_a_column_that_is_absent_or_of_another_shape_is_refused(
    rows: Vectors, tmp_path: Path, name: str, how: str
) -> None:
    path = tmp_path / "x"
    saved(rows, path, HNSW)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    arrays = dict(held.arrays)
    if how == "absent":
        del arrays[name]
    elif how == "shorter":
        arrays[name] = arrays[name][:-1]
    else:
        arrays[name] = arrays[name].astype(np.float64)
    files.write_arrays(path, kind="hnsw", version=VERSION, meta=held.meta, arrays=arrays)
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
