"""A collection into another engine, and back: written in the order of its keys, resumed, and compared when it is done.

plan.py      what is carried, and what an engine has to be able to do (`Target`, `Supply`)
carry.py     the loop: resume, write, compare counts, vectors and answers
places.py    from what a person writes ("pgvector:postgresql://…") to an engine
parquet.py pgvector.py milvus.py qdrant.py arrays.py     one engine a file, each imported when it is asked for
"""

from firth.store.exchange.carry import Moved, export_to, import_from
from firth.store.exchange.places import supply, target
from firth.store.exchange.plan import Plan, Supply, Target

__all__ = ["Moved", "Plan", "Supply", "Target", "export_to", "import_from", "supply", "target"]
