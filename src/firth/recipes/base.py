"""The model that a build starts from: a published one by name, a folder, or word vectors trained on the documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from firth import files
from firth.arrays import Encoder
from firth.progress import Progress, silent
from firth.recipes.load import load
from firth.recipes.stages import digest
from firth.text.chunks import Chunking
from firth.text.records import Document
from firth.text.settings import Reading

WORDS = "words"
WORDS_FILE = "words.safetensors"
MODEL_FILES = (".json", ".safetensors", ".txt", ".bin", ".vec", ".firth")


@dataclass(frozen=True)
class Base:
    """Where the base model lies.

    Attributes:
        name: as the user gave it.
        folder: model folder or word-vector file; None for word vectors that the build trains itself.
    """

    name: str
    folder: Path | None

    @property
    def identity(self) -> str:
        """Changes when the model's files do; found without loading it."""
        if self.folder is None:
            return self.name
        paths = [self.folder] if self.folder.is_file() else sorted(p for p in self.folder.rglob("*") if p.is_file())
        return digest([(path.name, files.sha256(path)) for path in paths if path.suffix in MODEL_FILES])


def find_base(name: str, *, progress: Progress = silent) -> Base:
    """Resolve a name to a folder, fetching it where that is needed.

    Raises:
        ModelError: no such model here, and none can be fetched; says what to do.
    """
    if name == WORDS:
        return Base(name, None)
    if Path(name).expanduser().is_file():
        return Base(name, Path(name).expanduser())
    from firth.sentence.published import resolve

    return Base(name, resolve(name, progress=progress))


def reading_for(base: Base) -> Reading:
    """Files are cut into chunks that this model reads whole."""
    if base.folder is None or base.folder.is_file() or (base.folder / "elmo.json").is_file():
        return Reading()
    from firth.sentence.folder import read_layout
    from firth.text.tokenizer import Tokenizer

    layout = read_layout(base.folder)
    tokenizer = Tokenizer.load(layout.bert)
    longest = layout.settings.max_tokens or Chunking.tokens
    room = max(1, min(Chunking.tokens, longest - len(tokenizer.prefix) - len(tokenizer.suffix)))
    return Reading(tokenizer=tokenizer, chunking=Chunking(room, min(Chunking.overlap, room // 2)))


def ready(
    base: Base, documents: Iterable[Document], folder: Path, progress: Progress, *, seed: int, threads: int
) -> Encoder:
    """The base as an encoder; word vectors are trained once on the documents and kept in `folder`."""
    if base.folder is not None:
        return load(base.folder)
    target = folder / WORDS_FILE
    if not target.exists():
        from firth.static import train_base

        texts = (document.full for document in documents)
        train_base(texts, seed=seed, threads=threads, progress=progress).save(target)
    return load(target)
