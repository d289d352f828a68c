"""vectors -> codes: fewer dimensions (Prefix), fewer bits (Scalar, Axes, Product, Binary), and exact re-scoring.

Every codec is a frozen dataclass with the same face: `train`, `encode`, `decode`, `bytes_per_vector`, `save`, `load`,
and `state()` for files that hold a codec beside its codes. A `Chain` is a prefix and then another codec; `rescore`
puts a shortlist that codes have found into its exact order. `train` makes a codec of its name.
"""

from firth.compress.axes import Axes
from firth.compress.binary import Binary
from firth.compress.chain import Chain
from firth.compress.codec import Codec, load
from firth.compress.named import standard, train
from firth.compress.prefix import Prefix
from firth.compress.product import Product
from firth.compress.rescore import rescore
from firth.compress.scalar import Scalar

__all__ = ["Axes", "Binary", "Chain", "Codec", "Prefix", "Product", "Scalar", "load", "rescore", "standard", "train"]
