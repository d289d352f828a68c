"""Files are whole or absent, and a damaged one is refused by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth import files
from firth.errors import FirthError, FormatError, StorageError


def container(path: Path) -> Path:
    arrays = {"a": np.arange(12, dtype=np.int32).reshape(3, 4), "b": np.linspace(0, 1, 7, dtype=np.float32)}
    files.write_arrays(path, kind="thing", version=2, meta={"m": 16}, arrays=arrays | {"none": np.empty((0, 3), "f4")})
    return path


def test_arrays_come_back_with_their_shapes_types_and_meta(tmp_path: Path) -> None:
    read = files.read_arrays(container(tmp_path / "x"), kind="thing", version=2)
    assert read.meta == {"m": 16}
    np.testing.assert_array_equal(read.arrays["a"], np.arange(12, dtype=np.int32).reshape(3, 4))
    assert read.arrays["none"].shape == (0, 3)
    assert all(array.ctypes.data % files.ALIGNMENT == 0 for array in read.arrays.values() if array.size)


def test_another_kind_and_a_newer_version_are_refused(tmp_path: Path) -> None:
    path = container(tmp_path / "x")
    with pytest.raises(FormatError, match="holds a 'thing', expected 'hnsw'"):
        files.read_arrays(path, kind="hnsw", version=2)
    with pytest.raises(FormatError, match="upgrade firth"):
        files.read_arrays(path, kind="thing", version=1)


@pytest.mark.parametrize("keep", [0, 5, 19, 40, 200, -1])
def test_a_truncated_file_is_refused_at_any_length(tmp_path: Path, keep: int) -> None:
    path = container(tmp_path / "x")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match="x: "):
        files.read_arrays(path, kind="thing", version=2)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_lies_in_the_padding(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = container(tmp_path_factory.mktemp("bits") / "x")
    raw = bytearray(path.read_bytes())
    clean = files.read_arrays(path, kind="thing", version=2)
    values = {name: array.copy() for name, array in clean.arrays.items()}
    raw[place % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    try:
        read = files.read_arrays(path, kind="thing", version=2)
    except FirthError:
        return
    for name, array in read.arrays.items():
        np.testing.assert_array_equal(array, values[name])


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(KeyboardInterrupt), files.write_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert files.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_folder_leaves_the_old_folder_and_no_scraps(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files.write_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), files.write_folder(target) as folder:
        (folder / "a").write_text("new")
        raise ZeroDivisionError
    assert (target / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_folder_replaced_by_a_killed_process_is_recovered(tmp_path: Path) -> None:
    target = tmp_path / "model"
    retired = tmp_path / ".model.retired"
    retired.mkdir()
    (retired / "a").write_text("old")
    files.recover_folder(target)
    assert (target / "a").read_text() == "old"


def test_a_full_disk_is_told_with_the_path_and_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(StorageError, match=r"x: no space left on the disk; .*free some room"),
        files.write_whole(tmp_path / "x") as file,
    ):
        file.write(b"data")
    assert list(tmp_path.iterdir()) == []


def test_json_that_is_broken_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "a": 1,\n  oops\n}')
    with pytest.raises(FormatError, match=r"config\.json, line 3: not JSON"):
        files.read_json(path)
