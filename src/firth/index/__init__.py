"""codes -> neighbours: `Flat` looks at every vector and is exact; `HNSW` walks a graph and is fast.

Both take keys (integers or strings), keep to `allow`, pad with -1 and -inf where fewer than k exist, and save to one
checksummed file that is opened without being read through.
"""

from firth.index.flat import Flat
from firth.index.hnsw import HNSW

__all__ = ["HNSW", "Flat"]
