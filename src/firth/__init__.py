"""firth: the best, cheapest vector search over one domain's documents, with proof.

From text come static, contextual and sentence embeddings; we compress, index, store and evaluate them; three doors
lead out: serve, scale and recipes.

    text/        str -> ids            static/     ids -> word vectors      contextual/  ids -> token vectors
    sentence/    texts -> vectors      compress/   vectors -> codes         index/       codes -> neighbours
    evaluate/    arrays -> report      recipes/    whole programs           cli          one sub-command a recipe
    store/       texts on disk         serve/      HTTP: clients, a page

Everything here is imported when it is first used: `import firth` loads neither NumPy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from firth.arrays import Encoder, Neighbours
    from firth.errors import FirthError
    from firth.evaluate.judge import evaluate
    from firth.recipes.learn import tune
    from firth.recipes.load import load
    from firth.store.collection import Collection
    from firth.text.read import read
    from firth.text.testset import TestSet

_HOMES = {
    "Collection": "firth.store.collection",
    "Encoder": "firth.arrays",
    "Neighbours": "firth.arrays",
    "FirthError": "firth.errors",
    "TestSet": "firth.text.testset",
    "load": "firth.recipes.load",
    "read": "firth.text.read",
    "tune": "firth.recipes.learn",
    "evaluate": "firth.evaluate",
}

__all__ = ["Collection", "Encoder", "FirthError", "Neighbours", "TestSet", "evaluate", "load", "read", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'firth' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # firth.evaluate is a room that can be called (see its __init__), so both spellings of the name work.
    return home if home.__name__ == f"firth.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
