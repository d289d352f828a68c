"""vectors -> codes: fewer dimensions (Prefix), fewer bits (Scalar, Product, Binary), and exact re-scoring.

Every codec is a frozen dataclass with the same face: `train`, `encode`, `decode`, `bytes_per_vector`, `save`, `load`,
and `state()` for files that hold a codec beside its codes.
"""

from firth.compress.codec import Codec, load
from firth.compress.prefix import Prefix
from firth.compress.scalar import Scalar

__all__ = ["Codec", "Prefix", "Scalar", "load"]
