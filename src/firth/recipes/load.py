"""`firth.load`: an encoder from a published name, a model's folder, or a file of word vectors."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from firth.arrays import Encoder
from firth.errors import MissingExtraError, SettingsError
from firth.progress import bar

HOSTED = ("openai", "cohere", "voyage")  # services whose models are named service:model


def load(
    name: Path | str,
    *,
    prompts: Mapping[str, str] | None = None,
    max_tokens: int | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Encoder:
    """An encoder, ready to `encode`.

    Args:
        name: a published name ("sentence-transformers/all-MiniLM-L6-v2", or without its owner), a folder, or a file of
            word vectors (word2vec text or binary, GloVe text, safetensors); or a hosted model, "openai:MODEL",
            "cohere:MODEL" or "voyage:MODEL", whose vectors are remembered (hosted.py, remember.py).
        prompts: text before every text of a kind, in place of the model's own, for instance
            {"query": "query: ", "document": "passage: "}.
        max_tokens: longest text in tokens, in place of the model's own.
        device: "cpu", "cuda", …; None = a GPU where there is one.
        progress: whether a download shows how far it is, on stderr.

    Returns:
        A `firth.sentence.encoder.SentenceEncoder`, with a query adapter where the folder holds one; for word vectors
        the mean of a text's words (firth.static.average); for a folder of firth pretrain elmo the mean of its words in
        context (firth.contextual.elmo).

    Raises:
        ModelError: not found, and what to do about it; or an architecture that is not known, with those that are.
        FormatError: a damaged file; names it.
        SettingsError: a setting that this kind of model does not have, or out of its range.
        MissingExtraError: a sentence model where torch is not installed.
    """
    if isinstance(name, str) and name.partition(":")[0] in HOSTED and not Path(name).exists():
        if prompts is not None or max_tokens is not None or device is not None:
            raise SettingsError(f"{name} is hosted; prompts, max_tokens and device are for models on this machine")
        return _hosted(name)
    if Path(name).expanduser().is_file():
        if prompts is not None or max_tokens is not None or device is not None:
            raise SettingsError(
                f"{name} is a file of word vectors; prompts, max_tokens and device are for sentence models"
            )
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
    if (folder / "elmo.json").is_file():
        if prompts is not None or max_tokens is not None:
            raise SettingsError(f"{name} is an ELMo; prompts and max_tokens are for sentence models")
        elmo: Encoder = import_module("firth.contextual.elmo").Elmo.load(folder).to(device or "cpu")
        return elmo
    from firth.sentence.adapter import FILE, AdaptedEncoder, QueryAdapter
    from firth.sentence.encoder import SentenceEncoder

    model = SentenceEncoder.load(folder, prompts=prompts, max_tokens=max_tokens, device=device)
    if not (folder / FILE).is_file():
        return model
    return AdaptedEncoder(model, QueryAdapter.load(folder / FILE))


def _hosted(name: str) -> Encoder:
    from firth.recipes.hosted import Hosted
    from firth.recipes.remember import Remembering
    from firth.sentence.published import cache_folder

    service, _, model = name.partition(":")
    file = model.replace("/", "--") + ".sqlite"
    return Remembering(Hosted(name), cache_folder() / "hosted" / service / file)
