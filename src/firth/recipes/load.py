"""`firth.load`: an encoder from a published name, a model's folder, or a file of word vectors."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from firth.arrays import Encoder
from firth.errors import MissingExtraError
from firth.progress import bar


def load(name: Path | str, *, progress: bool = True) -> Encoder:
    """An encoder, ready to `encode`.

    Args:
        name: a published name ("sentence-transformers/all-MiniLM-L6-v2", or without its owner), a folder, or a file of
            word vectors (word2vec text or binary, GloVe text, safetensors).
        progress: whether a download shows how far it is, on stderr.

    Returns:
        A `firth.sentence.encoder.SentenceEncoder`; for word vectors the mean of a text's words (firth.static.average).

    Raises:
        ModelError: not found, and what to do about it; or an architecture that is not known, with those that are.
        FormatError: a damaged file; names it.
        MissingExtraError: a sentence model where torch is not installed.
    """
    if Path(name).expanduser().is_file():
        encoder: Encoder = import_module("firth.static.average").load(Path(name).expanduser())
        return encoder
    from firth.sentence.published import find, resolve

    folder = find(name)
    if folder is None:
        with bar(f"fetching {name}", shown=progress) as report:
            folder = resolve(name, progress=report)
    for package in ("torch", "tokenizers"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "torch", f"the sentence model {name}")
    from firth.sentence.encoder import SentenceEncoder

    return SentenceEncoder.load(folder)
