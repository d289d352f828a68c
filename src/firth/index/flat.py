"""Flat: every vector is looked at, so the answer is exact; over codes, exact for what the codes stand for.

One pass costs n·d multiplications a query; a batch of queries shares each row that comes from memory. It is the
oracle of the other index and the right choice below some ten thousand vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth import files
from firth.arrays import Ids, Neighbours, Vectors
from firth.compress import Codec
from firth.compress.codec import restore
from firth.errors import FormatError, SettingsError
from firth.index.allow import Allow, allowed_rows
from firth.index.keys import KeyList, Keys
from firth.index.metric import Metric, as_rows, check_metric
from firth.index.scan import CodeScan
from firth.kernels import default_threads
from firth.kernels.flat import flat, longest_row

KIND = "flat"
VERSION = 1


class Flat:
    """Exact search over (n, d) float32, or over a codec's codes.

    `build` or `load` make one; `search` may run beside itself, `add` and `remove` may not run beside anything.
    """

    def __init__(
        self, rows: NDArray[Any], ids: Ids, keys: Keys, codec: Codec | None, metric: Metric, dims: int
    ) -> None:
        self._given: NDArray[Any] | None = (
            rows  # (n, d) float32, or (n, w) uint8 with a codec; None once it is in _scan
        )
        self._scan: CodeScan | None = None  # the codes as their kernel wants them, from the first search on
        self._ids = ids
        self._keys = keys
        self.codec = codec
        self.metric: Metric = metric
        self.dims = dims
        self._longest = None if codec else longest_row(rows)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        *,
        keys: KeyList | None = None,
        codec: Codec | None = None,
        metric: Metric = "cosine",
        threads: int | None = None,
    ) -> Flat:
        """An index of all rows.

        Args:
            vectors: (n, d) float32.
            keys: n integers or strings; the row numbers if None.
            codec: a trained codec of width d: keep its codes instead of float32.
            metric: "cosine", "dot" or "euclid"; see index/metric.py.
            threads: for encoding; all cores if None.

        Raises:
            ShapeError: not (n, d) finite numbers, or another width than the codec's.
            SettingsError: a key twice or below 0, an unknown metric.
        """
        check_metric(metric)
        rows = as_rows(vectors, metric, dims=codec.dims if codec else None)
        named = Keys()
        ids = named.name(keys, len(rows))
        named.accept(keys, ids)
        kept = codec.encode(rows, threads=threads or default_threads()) if codec else rows
        return cls(kept, ids, named, codec, metric, rows.shape[1])

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes in memory a vector, its key included."""
        held = self._scan.nbytes if self._scan is not None else self._rows.nbytes
        return float(held / max(len(self), 1) + 8)

    @property
    def rows(self) -> Vectors:
        """(n, d) float32 in the order of arrival; decoded where there is a codec."""
        return self.codec.decode(self._rows) if self.codec else self._rows

    @property
    def ids(self) -> Ids:
        """(n,) int64 in the order of arrival: integer keys, or the serial numbers of string keys."""
        return self._ids

    @property
    def strings(self) -> list[str] | None:
        """The string keys by serial number, "" where one was removed; None where keys are integers."""
        return self._keys.strings

    def search(
        self, queries: ArrayLike, k: int = 10, *, threads: int | None = None, allow: Allow | None = None
    ) -> Neighbours:
        """The k nearest of each query.

        Args:
            queries: (q, d) float32, or one row (d,).
            k: neighbours wanted; where fewer exist the row ends in -1, -inf.
            threads: all cores if None.
            allow: keys, or a boolean row indexed by integer key, of what may appear.

        Raises:
            ShapeError: queries of another width. SettingsError: k below 1.
        """
        if k < 1:
            raise SettingsError(f"search: k={k} is below 1")
        wanted = as_rows(queries, self.metric, dims=self.dims, name="queries")
        mask = None if allow is None else allowed_rows(allow, self._ids, self._keys)
        team = threads or default_threads()
        if self.codec is None:
            only, euclid = None if mask is None else np.flatnonzero(mask), self.metric == "euclid"
            near = flat(wanted, self._rows, k, only=only, euclid=euclid, longest=self._longest, threads=team)
        else:
            near = self._over_codes().search(wanted, k, allow=mask, threads=team)
        found = near.ids >= 0
        return Neighbours(np.where(found, self._ids[near.ids] if len(self) else -1, -1), near.scores)

    def add(self, keys: KeyList | None, vectors: ArrayLike) -> None:
        """More vectors; `keys` None numbers them on.

        Raises:
            SettingsError: a key that is there already.
        """
        rows = as_rows(vectors, self.metric, dims=self.dims)
        ids = self._keys.name(keys, len(rows))
        present = np.isin(ids, self._ids)
        if present.any():
            raise SettingsError(f"keys: {ids[present][0]} is in the index already; remove it first")
        kept = self.codec.encode(rows) if self.codec else rows
        self._put(np.concatenate([self._rows, kept]))
        self._ids = np.concatenate([self._ids, ids])
        self._keys.accept(keys, ids)
        if self._longest is not None:
            self._longest = max(self._longest, longest_row(rows))

    def remove(self, keys: KeyList) -> None:
        """Forget these vectors.

        Raises:
            SettingsError: a key that is not in the index; then nothing is removed.
        """
        ids = self._keys.ids(keys)
        missing = ids[~np.isin(ids, self._ids)]
        if len(missing):
            raise SettingsError(f"keys: {missing[0]} is not in the index; {len(missing) - 1} more like it")
        stay = ~np.isin(self._ids, ids)
        self._put(self._rows[stay])
        self._ids = self._ids[stay]
        self._keys.drop(ids)

    def names(self, ids: Ids) -> list[Any]:
        """The keys of found ids, in nested lists of the same shape; None for -1."""
        return self._keys.names(ids)

    def save(self, path: Path | str) -> None:
        """One checksummed file, whole or not at all."""
        key_meta, key_arrays = self._keys.state()
        codec_meta, codec_arrays = self.codec.state() if self.codec else (None, {})
        meta = {"metric": self.metric, "dims": self.dims, "codec": codec_meta, **key_meta}
        arrays = {"rows": self._rows, "ids": self._ids, **key_arrays}
        arrays |= {f"codec.{name}": array for name, array in codec_arrays.items()}
        files.write_arrays(path, kind=KIND, version=VERSION, meta=meta, arrays=arrays)

    @classmethod
    def load(cls, path: Path | str, *, verify: bool = True) -> Flat:
        """Open a saved index; its rows stay in the file, memory-mapped.

        Args:
            path: what `save` wrote.
            verify: check every checksum, which reads the file once.

        Raises:
            FormatError: truncated, damaged, of another kind or a newer version.
        """
        held = files.read_arrays(path, kind=KIND, version=VERSION, verify=verify)
        meta, arrays = held.meta, held.arrays
        try:
            check_metric(meta["metric"])
            within = {name.removeprefix("codec."): a for name, a in arrays.items() if name.startswith("codec.")}
            codec = restore(meta["codec"], within, path=path) if meta["codec"] else None
            rows, ids, dims = arrays["rows"], arrays["ids"], int(meta["dims"])
            width = codec.bytes_per_vector if codec else dims
            if rows.shape != (len(ids), width) or rows.dtype != (np.uint8 if codec else np.float32):
                raise FormatError(f"damaged: rows are {rows.dtype} {rows.shape}, expected ({len(ids)}, {width})")
            if codec and codec.dims != dims:
                raise FormatError(f"damaged: the codec has {codec.dims} dimensions, the index {dims}")
            return cls(rows, ids, Keys.restore(meta, arrays, ids), codec, meta["metric"], dims)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise FormatError(f"damaged flat index: {error}", path=path) from error

    @property
    def _rows(self) -> NDArray[Any]:
        """(n, d) float32, or (n, w) uint8 with a codec."""
        given = self._given  # read once: a search in another thread may take it over
        if given is not None:
            return given
        assert self._scan is not None
        return self._scan.codes

    def _put(self, rows: NDArray[Any]) -> None:
        self._given, self._scan = rows, None

    def _over_codes(self) -> CodeScan:
        """The codes as their kernel wants them; only that form is kept."""
        scan = self._scan
        if scan is None:
            assert self.codec is not None
            scan = CodeScan(self.codec, self._rows, euclid=self.metric == "euclid")
            self._scan, self._given = scan, None
        return scan
