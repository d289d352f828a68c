"""A folder that `firth build` made: the model, the collection, and how it is to be searched.

    model/             sentence-transformers folder, or word vectors
    collection/        documents, vectors and index (firth.store)
    report.html/.json  what was measured
    firth-build.json   layout, and once the build is whole: recall and the chosen configuration
    .build/            what an interrupted build goes on from; may be deleted

No path in it is absolute: it works wherever it is moved.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from firth import files
from firth.arrays import Encoder, Vectors, unit
from firth.errors import FormatError
from firth.evaluate.records import Point, point_json
from firth.progress import Progress, silent
from firth.recipes.load import load
from firth.recipes.stages import LAYOUT, MARK
from firth.sentence.shards import Shards
from firth.store import Collection, Hit, IndexSettings
from firth.text.records import Document

MODEL, COLLECTION = "model", "collection"


@dataclass(frozen=True)
class Mark:
    """What a whole build says of itself; `model` is a path below its folder."""

    model: str
    recall: float
    dims: int


@dataclass(frozen=True)
class Built:
    """An opened result of `firth build`; use it as a context manager.

    Attributes:
        recall: share of the exact neighbours that a search aims for unless told otherwise.
        dims: leading dimensions that the collection keeps.
    """

    out: Path
    encoder: Encoder
    collection: Collection
    recall: float
    dims: int

    @classmethod
    def open(cls, out: Path) -> Self:
        """Load the model and open the collection for reading.

        Raises:
            FormatError: not built by firth, of a newer layout, or the build was not finished.
        """
        about = read_mark(out)
        encoder = load(out / about.model)
        collection = Collection.open(out / COLLECTION, encoder=encoder, readonly=True)
        return cls(out, encoder, collection, about.recall, about.dims)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.collection.close()

    def query(self, text: str) -> Vectors:
        """(dims,) unit row of a question, as wide as the collection's."""
        rows = unit(self.encoder.encode([text], kind="query")[:, : self.dims])
        row: Vectors = rows[0]
        return row

    def search(self, query: Any, k: int = 10, *, recall: float | None = None, **settings: Any) -> list[Hit]:
        """As `Collection.search`, at the recall that was built for unless another is asked for."""
        return self.collection.search(query, k, recall=recall or self.recall, **settings)


def read_mark(out: Path) -> Mark:
    """What firth-build.json says.

    Raises:
        FormatError: not built by firth, of a newer layout, or the build was not finished.
    """
    mark = out / MARK
    if not mark.is_file():
        raise FormatError(f"has no {MARK}: firth build DATA -o {out} makes such a folder", path=out)
    about = files.read_json(mark)
    if about.get("layout") != LAYOUT:
        raise FormatError(f"layout {about.get('layout')!r}; this firth reads layout {LAYOUT}", path=mark)
    if "recall" not in about:
        raise FormatError("the build was not finished; the same firth build command goes on with it", path=out)
    return Mark(str(about["model"]), float(about["recall"]), int(about["chosen"]["dims"]))


def fill(
    folder: Path,
    encoder: Encoder,
    shards: Shards,
    documents: Iterable[Document],
    chosen: Point,
    *,
    recall: float,
    threads: int,
    seed: int,
    progress: Progress = silent,
) -> None:
    """A new collection in `folder`: the documents with the vectors that were already made, indexed as chosen."""
    settings = IndexSettings(
        **{name: int(value) for name, value in chosen.settings.items() if name in ("m", "ef_construction")},
        recall=recall,
        threads=threads,
        exact_below=0 if chosen.index == "hnsw" else sys.maxsize,
        seed=seed,
    )
    codec: Literal["sq8"] | None = "sq8" if chosen.codec == "sq8" else None
    walk, done = iter(documents), 0
    # Not durable: the folder is published whole or not at all, so that no single write must reach the disk first.
    with Collection.create(
        folder, encoder=encoder, dims=chosen.dims, codec=codec, index=settings, durable=False
    ) as collection:
        for rows in shards.blocks():
            block = list(islice(walk, len(rows)))
            collection.upsert(
                [document.id for document in block],
                [document.text for document in block],
                [_payload(document) for document in block],
                titles=[document.title for document in block],
                vectors=rows,
                made_by=shards.maker["fingerprint"],
            )
            done += len(rows)
            progress(done, len(shards), "stored")
        progress(done, len(shards), "indexing")
        collection.compact()


def finish(out: Path, *, model: str, recall: float, chosen: Point) -> None:
    """Mark a build as whole; `model` is the model's path below `out`."""
    files.write_json(out / MARK, {"layout": LAYOUT, "model": model, "recall": recall, "chosen": point_json(chosen)})


def _payload(document: Document) -> dict[str, Any]:
    if not document.source:
        return {}
    return {"source": document.source, "start": document.start, "end": document.end}
