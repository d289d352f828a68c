"""From a path to what is served.

    a folder of `firth build`    its model; its collection under the folder's name; more may be made
    a collection                 that one
    a model                      embeddings only
    any other folder             every collection below its collections/; more may be made; there may be a model/

`firth serve` opens what it is given here; `Library` is what comes of it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from firth.errors import SettingsError, StorageError
from firth.recipes.built import COLLECTION, MODEL, read_mark
from firth.recipes.load import load
from firth.recipes.stages import MARK
from firth.serve.batcher import Served
from firth.serve.library import NAME, Library
from firth.store.schema import ROWS

REPORT = "report.html"
MODEL_FILES = ("modules.json", "config.json")  # either makes a folder a model


def open_library(
    path: Path, *, model: str = "", base: str = "", readonly: bool = False, queue: int = 16_384
) -> Library:
    """What lies in `path`, ready to be served; an empty or new folder begins without collections.

    Args:
        model: name, folder or word-vector file; "" = the one that lies there, if any.
        base: the model that it was tuned from, to be compared with it; "" = none.
        queue: texts that may wait for the model.

    Raises:
        FormatError, ModelError, LockedError: as loading and opening do.
        SettingsError: a folder with a model of its own, and another model; a base where nothing can be compared.
    """
    path = path.expanduser()
    name = path.resolve().name
    built, one = (path / MARK).is_file(), (path / ROWS).is_file()
    bare = not one and not built and (path.is_file() or any((path / f).is_file() for f in MODEL_FILES))
    if base and (one or bare):
        raise SettingsError(
            f"{path}: --base compares collections of a folder; serve a folder of firth build, or of them"
        )
    if (built or bare) and model:
        what = "has the model that it was built with" if built else "is a model"
        raise SettingsError(f"{path} {what}; leave --model out")
    if not path.exists() and readonly:
        raise StorageError(f"{path}: no such folder")
    with ExitStack() as opened:  # what fails on the way ends the threads of the models that were loaded

        def loaded(place: Path | str, called: str) -> Served:
            served = Served(load(place), called, queue=queue)
            opened.callback(served.close)
            return served

        if built:
            about = read_mark(path)
            library = Library(
                path,
                loaded(path / about.model, name),
                base=loaded(base, _model_name(base)) if base else None,
                fixed={_as_name(name): (path / COLLECTION, about.recall)},
                grows=True,
                readonly=readonly,
                report=path / REPORT if (path / REPORT).is_file() else None,
            )
        elif one:
            encoder = loaded(model, _model_name(model)) if model else None
            library = Library(None, encoder, fixed={_as_name(name): (path, None)}, readonly=readonly)
        elif bare:
            library = Library(None, loaded(path, name))
        else:
            path.mkdir(parents=True, exist_ok=True)
            own = path / MODEL
            chosen: Path | str = model or (own if own.exists() else "")
            library = Library(
                path,
                loaded(chosen, _model_name(chosen)) if chosen else None,
                base=loaded(base, _model_name(base)) if base else None,
                grows=True,
                readonly=readonly,
            )
        opened.pop_all()
        return library


def _as_name(name: str) -> str:
    """A folder's name as a collection's: "notes.firth" is "notes"."""
    plain = re.sub(r"[^\w. +@-]", "_", name.removesuffix(".firth")).strip(". ")
    return plain if NAME.fullmatch(plain) else "collection"


def _model_name(model: Path | str) -> str:
    name = str(model)
    return Path(name).resolve().name if Path(name).exists() else name
