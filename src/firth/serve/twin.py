"""The same documents once more, embedded by the model that the served one was tuned from: base against tuned.

`firth serve … --base MODEL` loads that model beside the served one. A twin is an ordinary collection, called after the
one that it doubles; its texts are asked with the base model, and the page shows both answers side by side.
"""

from __future__ import annotations

from collections.abc import Callable

from firth.serve.batcher import Served
from firth.serve.library import Library, Shelf
from firth.serve.wire import Refused

ENDING = "-base"
PAGE = 256  # documents embedded at a time; other collections are searched meanwhile


def twin_of(library: Library, shelf: Shelf) -> Callable[[], int]:
    """The work of embedding every document of a collection with the base model; it tells how many there were.

    Raises:
        Refused: 400, the server has no base model; 409, there is a twin already.
    """
    base = library.base
    if base is None:
        raise Refused(400, "this server has no base model; start it with --base", param="kind")
    name = shelf.name + ENDING
    if library.has(name):
        raise Refused(409, f"there is a collection {name!r} already; delete it to have it made anew")
    return lambda: _doubled(library, shelf, name, base)


def _doubled(library: Library, shelf: Shelf, name: str, base: Served) -> int:
    twin = library.create(name, {}, made=None, model=base).collection
    try:
        page = shelf.collection.scroll(limit=PAGE)
        while True:
            records = page.records
            twin.upsert(
                [record.id for record in records],
                [record.text for record in records],
                [record.payload for record in records],
                titles=[record.title for record in records],
            )
            if page.next is None:
                return len(twin)
            page = shelf.collection.scroll(limit=PAGE, start=page.next)
    except BaseException:
        library.remove(name)
        raise
