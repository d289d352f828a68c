"""store: texts on disk that can be searched, and are there after kill -9."""

from firth.store.collection import Collection
from firth.store.hybrid import Hybrid
from firth.store.records import Group, Hit, Key, Page, Payload, Record, Source
from firth.store.schema import IndexSettings, VectorSettings

__all__ = [
    "Collection",
    "Group",
    "Hit",
    "Hybrid",
    "IndexSettings",
    "Key",
    "Page",
    "Payload",
    "Record",
    "Source",
    "VectorSettings",
]
