"""The file of an HNSW index; docs/format.md says what a reader MUST check, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.compress import Scalar
from firth.compress.codec import restore
from firth.errors import FormatError, SettingsError
from firth.index.calibrate import MOST_DIMENSION, Curve
from firth.index.keys import Keys
from firth.index.metric import check_metric
from firth.kernels.codes import split_codes

if TYPE_CHECKING:
    from firth.index.hnsw import HNSW

KIND = "hnsw"
VERSION = 2  # 1 kept whole codes in the blocks
CODE_WIDTH = 64  # bytes; rows of codes, and blocks, are padded to whole registers
MOST_EF = 1 << 20  # a beam; more is damage, not a setting
LONGEST = float(np.finfo(np.float32).max)  # of a row's length
_COLUMNS = {  # name: (type, columns where the number is fixed)
    "blocks": (np.uint8, None),
    "low": (np.uint8, None),
    "norms": (np.uint32, 1),
    "rows": (np.float32, None),
    "keys": (np.int64, 1),
    "levels": (np.uint8, 1),
    "state": (np.uint8, 1),
    "upper_at": (np.uint32, 1),
    "upper": (np.uint32, None),
}


def save(index: HNSW, path: Path | str) -> None:
    """Write the index; the caller keeps other writers out."""
    graph = index._graph
    key_meta, key_arrays = index._keys.state()
    codec_meta, codec_arrays = index.codec.state() if index.codec else (None, {})
    meta = {
        "metric": index.metric,
        "dims": index.dims,
        "m": index.m,
        "ef_construction": index.ef_construction,
        "seed": index.seed,
        "longest": index.longest,
        "dimension": index.dimension,
        "entry": int(graph.entry),
        "codec": codec_meta,
        "curve": index.curve.state() if index.curve else None,
        "measured": index.curve.vectors if index.curve else 0,
        **key_meta,
    }
    columns: dict[str, NDArray[Any]] = {name: getattr(graph, name) for name in _COLUMNS}
    codec = {f"codec.{name}": array for name, array in codec_arrays.items()}
    files.write_arrays(path, kind=KIND, version=VERSION, meta=meta, arrays=columns | key_arrays | codec)


def load(cls: type[HNSW], path: Path | str, *, verify: bool) -> HNSW:
    """Open what `save` wrote."""
    held = files.read_arrays(path, kind=KIND, version=VERSION, verify=verify)
    try:
        return _restored(cls, held.meta, held.arrays, held.version)
    except FormatError as error:
        raise FormatError(str(error), path=path) from error
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, SettingsError) as error:
        raise FormatError(f"damaged hnsw index: {error}", path=path) from error


def _restored(cls: type[HNSW], meta: dict[str, Any], arrays: dict[str, NDArray[Any]], version: int) -> HNSW:
    check_metric(meta["metric"])
    within = {name.removeprefix("codec."): array for name, array in arrays.items() if name.startswith("codec.")}
    codec = restore(meta["codec"], within) if meta["codec"] else None
    if codec is not None and (not isinstance(codec, Scalar) or codec.bits != 8):
        raise FormatError(f"the walk needs an 8-bit scalar codec, the file has {meta['codec']}")
    dims, m = int(meta["dims"]), int(meta["m"])
    width = dims + (meta["metric"] == "dot")
    if dims < 1 or not 2 <= m <= 256 or (codec is not None and codec.dims != width):
        raise FormatError(f"damaged: {dims} dimensions, m {m}, codec of {codec.dims if codec else 0}")
    ef_construction = int(meta["ef_construction"])
    if not 1 <= ef_construction <= MOST_EF:
        raise FormatError(f"damaged: ef_construction {ef_construction}")
    longest = float(meta["longest"])
    if not 0 <= longest <= LONGEST:
        raise FormatError(f"damaged: the longest row has length {longest}")
    dimension = float(meta["dimension"]) if version > 1 else 0.0
    if not 0 <= dimension <= MOST_DIMENSION:
        raise FormatError(f"damaged: rows of {dimension} dimensions")
    if version == 1:
        arrays = arrays | _split(arrays["blocks"], 8 * m, 0 if codec is None else -(-width // CODE_WIDTH) * CODE_WIDTH)
    columns = {name: _column(name, arrays[name]) for name in _COLUMNS}
    n = len(columns["keys"])
    _wide(columns, "rows", width)  # before a graph of this width is made: a false one may not fit into memory
    index = cls(dims, meta["metric"], m, ef_construction, codec, int(meta["seed"]))
    index.longest, index.dimension = longest, dimension
    _wide(columns, "blocks", index._graph.block_bytes)
    _wide(columns, "upper", m)
    _wide(columns, "low", 0 if codec is None else -(-width // CODE_WIDTH) * CODE_WIDTH // 2)
    if any(len(column) != n for name, column in columns.items() if name != "upper"):
        raise FormatError(f"damaged: columns of {sorted({len(c) for c in columns.values()})} rows for {n} vectors")
    index._graph.open(*columns.values(), int(meta["entry"]))
    index._held = tuple(columns.values())
    alive = columns["keys"][:, 0][columns["state"][:, 0] == 0]
    index._keys = Keys.restore(meta, arrays, alive)
    # Files of before `measured` was kept: the curve is taken to be of the index as it lies there.
    measured = int(meta.get("measured", len(alive)))
    index.curve = Curve.restore(meta["curve"], measured) if meta["curve"] is not None else None
    return index


def _split(blocks: NDArray[Any], links: int, width: int) -> dict[str, NDArray[Any]]:
    """The columns `blocks` and `low` of a file of version 1: there a block held `links` bytes and then a whole code."""
    whole = _column("blocks", blocks)
    if whole.shape[1] < links + width:
        raise FormatError(f"damaged: blocks has shape {whole.shape}, expected (…, {links + width})")
    high, low = split_codes(whole[:, links : links + width])
    used = links + width // 2
    fresh = np.full((len(whole), -(-used // CODE_WIDTH) * CODE_WIDTH), 0xFF, np.uint8)  # as growth pads a block
    fresh[:, :links], fresh[:, links:used] = whole[:, :links], high
    return {"blocks": fresh, "low": low}


def _wide(columns: dict[str, NDArray[Any]], name: str, width: int) -> None:
    if columns[name].shape[1] != width:
        raise FormatError(f"damaged: {name} has shape {columns[name].shape}, expected (…, {width})")


def _column(name: str, array: NDArray[Any]) -> NDArray[Any]:
    dtype, columns = _COLUMNS[name]
    if array.dtype != dtype or array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise FormatError(f"damaged: {name} is {array.dtype} of shape {array.shape}")
    return array
