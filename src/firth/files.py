"""Files that are whole or absent: write-temp-then-rename, checksums, and firth's own array container.

The container holds named arrays of one thing (an index, a codec, word vectors) so that they can be memory-mapped:

    8 bytes   magic "firth\\0\\r\\n": a transfer that mangles line ends is noticed
    4 + 4 + 4 container version, header length in bytes, CRC-32 of the header (little-endian uint32)
    header    UTF-8 JSON: kind, version, meta, and for each array name, dtype, shape, offset, bytes, crc32
    arrays    each at a multiple of 64 bytes, C order, little-endian

A file from outside is hostile until checked: magic, versions, header checksum, every offset, size and type are
checked before an array is handed out, and the arrays' own checksums unless the caller asks for speed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, StorageError

MAGIC = b"firth\0\r\n"
CONTAINER_VERSION = 1
ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register
MAX_HEADER = 64 << 20  # bytes; a longer one is damage, not data
_PREFIX = struct.Struct("<8sIII")
_TYPES = ("float32", "float64", "float16", "int64", "int32", "uint32", "uint64", "int8", "uint8", "uint16")


@dataclass(frozen=True)
class Container:
    """What was read: the arrays (memory-mapped, read-only) and what their writer said of them."""

    kind: str
    version: int
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


@contextmanager
def write_whole(path: Path | str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` complete, or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file, if any, is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise _storage_error(path, error) from error
        raise


def write_text(path: Path | str, text: str) -> None:
    """`text` as UTF-8, whole or not at all."""
    with write_whole(path) as file:
        file.write(text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """`value` as indented JSON with a final newline, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`.

    Raises:
        FormatError: not UTF-8 or not JSON; names the line.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"byte {error.start} is not UTF-8", path=path) from error
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", path=path, line=error.lineno) from error
    except RecursionError as error:
        raise FormatError("nested too deeply to be read", path=path) from error


@contextmanager
def write_folder(path: Path | str) -> Iterator[Path]:
    """A folder that replaces `path` in one step when the block ends well, and vanishes when it does not.

    Raises:
        StorageError: the disk is full or the parent cannot be written; the old folder is untouched.
    """
    path = Path(path)
    recover_folder(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        retired = _retired(path)
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
        _sync_folder(path.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        recover_folder(path)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise _storage_error(path, error) from error
        raise


def recover_folder(path: Path | str) -> None:
    """Undo or finish a `write_folder` that was killed between its two renames."""
    path = Path(path)
    retired = _retired(path)
    if retired.exists():
        if path.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(path)


def sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(
    path: Path | str, *, kind: str, version: int, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write one container; see the head of this file."""
    entries: list[dict[str, Any]] = []
    offset = 0
    ready = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in ready.items():
        if array.dtype.name not in _TYPES:
            raise TypeError(f"array {name!r}: type {array.dtype} is not one of {', '.join(_TYPES)}")
        entries.append(
            {
                "name": name,
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "offset": offset,  # from the end of the padded header
                "bytes": array.nbytes,
                "crc32": zlib.crc32(_bytes(array)),
            }
        )
        offset = _aligned(offset + array.nbytes)
    header = json.dumps({"kind": kind, "version": version, "meta": dict(meta), "arrays": entries}).encode()
    with write_whole(path) as file:
        file.write(_PREFIX.pack(MAGIC, CONTAINER_VERSION, len(header), zlib.crc32(header)))
        file.write(header)
        start = _aligned(file.tell())
        for entry, array in zip(entries, ready.values(), strict=True):
            file.write(b"\0" * (start + entry["offset"] - file.tell()))
            file.write(_bytes(array))


def read_arrays(path: Path | str, *, kind: str, version: int, verify: bool = True) -> Container:
    """Open a container; its arrays are memory maps.

    Args:
        kind: what it must hold, for instance "hnsw".
        version: the newest version of that kind that the caller reads.
        verify: also check each array's CRC-32, which reads the whole file once.

    Raises:
        FormatError: not a container, of another kind, a newer version, truncated or damaged.
    """
    path = Path(path)
    header, start = _header(path, kind)
    try:
        return _described(path, json.loads(header), kind, version, start, path.stat().st_size, verify)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"damaged: its header does not describe arrays ({error!r})", path=path) from error


def kind_of(path: Path | str) -> str:
    """What a container holds, for instance "hnsw".

    Raises:
        FormatError: not a container, or a damaged one.
    """
    path = Path(path)
    try:
        return str(json.loads(_header(path, "a container")[0])["kind"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"damaged: its header does not describe arrays ({error!r})", path=path) from error


def _header(path: Path, expected: str) -> tuple[bytes, int]:
    """The JSON of a container, its checksum checked, and where its arrays begin."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size or prefix[:8] != MAGIC:
            raise FormatError(f"not a firth file (expected {expected})", path=path)
        _, container, length, checksum = _PREFIX.unpack(prefix)
        if container > CONTAINER_VERSION:
            raise FormatError(f"container version {container}; this firth reads up to {CONTAINER_VERSION}", path=path)
        if length > min(MAX_HEADER, size - _PREFIX.size):
            raise FormatError(f"truncated or damaged: {size:,} bytes, the header alone claims {length:,}", path=path)
        header = file.read(length)
    if zlib.crc32(header) != checksum:
        raise FormatError("damaged: the header's checksum does not match; build or copy it again", path=path)
    return header, _aligned(_PREFIX.size + length)


def _described(
    path: Path, described: dict[str, Any], kind: str, version: int, start: int, size: int, verify: bool
) -> Container:
    if described["kind"] != kind:
        raise FormatError(f"holds a {described['kind']!r}, expected {kind!r}", path=path)
    if described["version"] > version:
        raise FormatError(
            f"{kind} version {described['version']}; this firth reads up to {version}: upgrade firth",
            path=path,
        )
    if not isinstance(described["meta"], dict):
        raise FormatError("damaged: its header holds no settings", path=path)
    arrays = {entry["name"]: _map(path, entry, start, size, verify) for entry in described["arrays"]}
    return Container(kind, described["version"], described["meta"], arrays)


def _map(path: Path, entry: dict[str, Any], start: int, size: int, verify: bool) -> NDArray[Any]:
    name, dtype, shape = entry["name"], entry["dtype"], tuple(int(n) for n in entry["shape"])
    if dtype not in _TYPES or any(n < 0 for n in shape) or entry["offset"] < 0 or entry["offset"] % ALIGNMENT:
        raise FormatError(f"damaged: array {name!r} is described as {dtype} {shape}", path=path)
    items = 1
    for n in shape:
        items *= n
    bytes_ = items * np.dtype(dtype).itemsize
    if bytes_ != entry["bytes"] or start + entry["offset"] + bytes_ > size:
        raise FormatError(
            f"truncated: array {name!r} ends at byte {start + entry['offset'] + bytes_:,}, the file has {size:,}; "
            "copy or build it again",
            path=path,
        )
    if bytes_ == 0:
        return np.empty(shape, dtype)
    array: NDArray[Any] = np.memmap(path, np.dtype(dtype), "r", start + entry["offset"], shape)
    if verify and zlib.crc32(_bytes(array)) != entry["crc32"]:
        raise FormatError(f"damaged: the checksum of array {name!r} does not match; build or copy it again", path=path)
    return array


def _bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _retired(path: Path) -> Path:
    return path.with_name(f".{path.name}.retired")


def _storage_error(path: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"{path}: no space left on the disk; nothing was changed, free some room and run it again"
    else:
        message = f"{path}: cannot be written: {error.strerror or error}"
    return StorageError(error.errno, message)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems refuse to sync a folder; the rename itself has happened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
