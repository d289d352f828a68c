"""codes -> neighbours: `Flat` looks at every vector and is exact; `HNSW` walks a graph and is fast.

Both take keys (integers or strings), keep to `allow`, pad with -1 and -inf where fewer than k exist, and save to one
checksummed file that is opened without being read through. `load` opens either; `foreign` reads and writes the files
of hnswlib and faiss.
"""

from pathlib import Path

from firth import files
from firth.errors import FormatError
from firth.index.flat import KIND as FLAT
from firth.index.flat import Flat
from firth.index.hnsw import HNSW
from firth.index.hnsw_file import KIND as GRAPH

__all__ = ["HNSW", "Flat", "load"]


def load(path: Path | str, *, verify: bool = True) -> HNSW | Flat:
    """Open an index of either kind; see `HNSW.load` and `Flat.load`.

    Raises:
        FormatError: not an index, damaged, or of a newer version.
    """
    kind = files.kind_of(path)
    if kind not in (FLAT, GRAPH):
        raise FormatError(f"holds a {kind!r}, expected an index", path=path)
    return HNSW.load(path, verify=verify) if kind == GRAPH else Flat.load(path, verify=verify)
