"""Kernels over byte codes: encoding a dimension in one byte, and integer inner products of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Codes, Vectors
from firth.kernels import native

ZERO = 128  # the code of a value that is the mean
Row = NDArray[np.float32]


def scalar_encode(
    vectors: Vectors, mean: Row, inverse: Row, *, width: int | None = None, threads: int = 1, module: Any = native
) -> Codes:
    """(n, width) codes: 128 + the distance from `mean` (d,) in steps, rounded and cut off at 1 and 255.

    inverse: (d,) 1 / step. width: bytes a code, at least d (the default); what is over is filled with 128.
    """
    out = np.empty((len(vectors), width or vectors.shape[1]), np.uint8)
    module.scalar_encode(vectors, mean, inverse, out, threads)
    return out


def scalar_encode_twin(vectors: Vectors, mean: Row, inverse: Row, *, width: int | None = None) -> Codes:
    """NumPy twin of `scalar_encode`."""
    steps = np.clip((vectors - mean) * inverse, np.float32(-127), np.float32(127))
    out = np.full((len(vectors), width or vectors.shape[1]), ZERO, np.uint8)
    out[:, : vectors.shape[1]] = (steps + np.float32(128.5)).astype(np.int32)
    return out


def dot_codes(queries: NDArray[np.int8], codes: Codes, *, module: Any = native) -> NDArray[np.int32]:
    """(q, n) int32 inner products of signed queries (q, w) with unsigned codes (n, w), w a multiple of 64."""
    out = np.empty((len(queries), len(codes)), np.int32)
    module.dot_codes(queries, codes, out)
    return out


def dot_codes_twin(queries: NDArray[np.int8], codes: Codes) -> NDArray[np.int32]:
    """NumPy twin of `dot_codes`."""
    return (queries.astype(np.int64) @ codes.T.astype(np.int64)).astype(np.int32)
