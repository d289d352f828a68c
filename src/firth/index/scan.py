"""Which kernel searches which codec's codes; all give scores of what the codes stand for.

| codec | how |
|---|---|
| sub-codes of 4 bits: `Product(bits=4)`, `Binary` | tables of 16, packed in blocks of 32 vectors |
| `Scalar` and `Axes`, inner products | integer products of weights and values, packed in blocks of 64 vectors |
| sub-codes of 8 bits: `Product` | tables of 256 |
| `Prefix`, inner products | float32 rows |
| a `Chain` | as its second codec, with the queries' prefix |
| `Scalar` of 4 bits under Euclid | tables of 16 |
| `Scalar` of 8 bits, `Axes` and `Prefix` under Euclid, and codecs of others | decoded block by block |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, NO_SCORE, Codes, Neighbours, Vectors
from firth.compress import Chain, Codec, Prefix
from firth.compress.codec import Saved
from firth.kernels import scan
from firth.kernels.flat import flat

DECODED = 16_384  # coded rows decoded at a time: 25 MB at 384 dimensions
TABLES = 64 << 20  # bytes of tables that are made at a time
_PACKED = 16  # entries of a table of 4 bits

Mask = NDArray[np.bool_]


class CodeScan:
    """Codes (n, w) of one codec, held as their kernel wants them."""

    def __init__(self, codec: Codec, codes: Codes, *, euclid: bool) -> None:
        self._codec, self._euclid, self._n = codec, euclid, len(codes)
        self._inner = codec.then if isinstance(codec, Chain) else codec
        self._sections = codec.layout() if isinstance(codec, Saved) and not euclid else None
        some = None if self._sections else self._tables(np.zeros((1, codec.dims), np.float32))
        self._sub_codes = 0 if some is None else some.shape[2]
        self._codes = codes
        if self._sections:
            self._codes = scan.pack_weighted(codes, self._sections)
        elif self._sub_codes == _PACKED:
            self._codes = scan.pack(codes)

    @property
    def codes(self) -> Codes:
        """(n, w) uint8 as the codec encoded them."""
        if self._sections:
            return scan.unpack_weighted(self._codes, self._n, self._sections)
        if self._sub_codes == _PACKED:
            return scan.unpack(self._codes, self._n, self._codec.bytes_per_vector)
        return self._codes

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._codes.nbytes

    def search(self, queries: Vectors, k: int, *, allow: Mask | None, threads: int) -> Neighbours:
        """The k best rows of each query; allow: (n,) of those that may appear."""
        if self._sections:
            assert isinstance(self._codec, Saved)  # as in __init__
            how = self._codec.weights(queries)
            return scan.scan_weighted(self._codes, self._n, self._sections, *how, k, allow=allow, threads=threads)
        if self._sub_codes:
            return self._by_tables(queries, k, allow, threads)
        if self._euclid or not isinstance(self._inner, Prefix):
            return self._decoded(queries, k, allow, threads)
        asked = np.ascontiguousarray(queries[:, : self._inner.keep])
        rows = np.ascontiguousarray(self._codes).view(np.float32)
        return flat(asked, rows, k, only=None if allow is None else np.flatnonzero(allow), threads=threads)

    def _tables(self, queries: Vectors) -> Vectors | None:
        return self._codec.tables(queries, euclid=self._euclid) if isinstance(self._codec, Saved) else None

    def _by_tables(self, queries: Vectors, k: int, allow: Mask | None, threads: int) -> Neighbours:
        """A batch of queries at a time, so that their tables stay within `TABLES`."""
        each = 4 * self._sub_codes * scan.sub_codes(self._codec.bytes_per_vector)
        found = []
        for start in range(0, len(queries), max(1, TABLES // each)):
            tables = self._tables(queries[start : start + max(1, TABLES // each)])
            assert tables is not None  # as in __init__
            if self._sub_codes == _PACKED:
                near = scan.scan_nibbles(self._codes, self._n, tables, k, allow=allow, threads=threads)
            else:
                near = scan.scan_tables(self._codes, tables, k, allow=allow, threads=threads)
            found.append(near)
        if len(found) == 1:
            return found[0]
        if not found:
            return Neighbours(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return Neighbours(np.concatenate([n.ids for n in found]), np.concatenate([n.scores for n in found]))

    def _decoded(self, queries: Vectors, k: int, allow: Mask | None, threads: int) -> Neighbours:
        """Block after block is decoded and searched; the best k of all blocks stay."""
        places = np.arange(self._n) if allow is None else np.flatnonzero(allow)
        ids = np.full((len(queries), k), NO_ID, np.int64)
        scores = np.full((len(queries), k), NO_SCORE, np.float32)
        for start in range(0, len(places), DECODED):
            block = places[start : start + DECODED]
            rows = np.ascontiguousarray(self._codec.decode(self._codes[block]), np.float32)
            near = flat(queries, rows, k, euclid=self._euclid, threads=threads)
            some = np.where(near.ids >= 0, block[near.ids], NO_ID)
            both, both_scores = np.hstack([ids, some]), np.hstack([scores, near.scores])
            best = np.argsort(-both_scores, axis=1, kind="stable")[:, :k]
            ids, scores = np.take_along_axis(both, best, 1), np.take_along_axis(both_scores, best, 1)
        return Neighbours(ids, scores)
