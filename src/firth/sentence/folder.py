"""The folder of a sentence encoder, as sentence-transformers lays it out: older releases and version 6, both read.

    modules.json                        the steps: Transformer, Pooling, then Dense and Normalize
    config_sentence_transformers.json   prompts by kind
    sentence_bert_config.json           longest text in tokens (version 6: in tokenizer_config.json)
    1_Pooling/config.json               pooling modes
    2_Dense/                            a linear layer behind the pooling: config.json, model.safetensors
    firth.json                          what only firth knows: the prefixes that were trained (Matryoshka)

Written are the older names, which every release since 2 reads; firth.json is ignored by the others. Classes are never
loaded by a path in a file: a step that is not in the list above is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firth.errors import FormatError, ModelError
from firth.files import read_json, write_json
from firth.sentence.pool import MODES, Pooling

_STEPS = ("Transformer", "Pooling", "Dense", "Normalize")
_SENTENCE_CONFIGS = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
)
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_OLD_MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_MOST_TOKENS = 1 << 20  # a tokenizer without a limit states 1e30


@dataclass(frozen=True)
class EncoderSettings:
    """What turns token vectors into text vectors.

    Attributes:
        pooling: how the token vectors of a text become one.
        prompts: text put before every text of a kind, for instance {"query": "query: "}.
        default_prompt: the kind whose prompt is used where none is asked for; None = no prompt.
        max_tokens: a longer text is cut, special tokens included; None = as many as the model has positions.
        lower_case: texts are lower-cased before the tokenizer sees them.
        dims: vectors are cut to this width; None = all of it.
        trained_dims: prefixes whose quality was trained (Matryoshka), ascending; empty = only the full width.
    """

    pooling: Pooling = field(default_factory=Pooling)
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    lower_case: bool = False
    dims: int | None = None
    trained_dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What a folder says.

    Attributes:
        settings: of the encoder.
        bert: the sub-folder that holds the transformer and its tokenizer.
        dense: the sub-folders of linear layers behind the pooling, in order.
        tokenizer_files: texts of the tokenizer's small files beside tokenizer.json, by name; they are carried along.
    """

    settings: EncoderSettings
    bert: Path
    dense: tuple[Path, ...] = ()
    tokenizer_files: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_layout(folder: Path | str) -> Layout:
    """What `folder` says; a transformer's folder without modules.json is pooled by the mean.

    Raises:
        ModelError: no model there, or a step or pooling mode that is not known, with the list of those that are.
        FormatError: a file that holds something else than it should.
    """
    folder = Path(folder)
    if not (folder / "modules.json").is_file():
        return _layout(folder, folder, Pooling(), ())
    bert, pooling, dense = folder, None, []
    for name, place in _steps(folder / "modules.json"):
        if name == "Transformer":
            bert = place
        elif name == "Pooling":
            pooling = _read_pooling(place / "config.json")
        elif name == "Dense":
            dense.append(place)
    if pooling is None:
        raise ModelError(f"{folder / 'modules.json'}: no Pooling step; is this an encoder of whole texts?")
    return _layout(folder, bert, pooling, tuple(dense))


def write_layout(folder: Path, layout: Layout, *, width: int, max_tokens: int, pad: str | None = None) -> None:
    """Write every file but the weights and tokenizer.json; `width` is that of one token vector.

    `layout.dense` holds the names of the sub-folders that the caller writes.
    """
    settings = layout.settings
    steps = [("Transformer", ""), ("Pooling", "1_Pooling"), *(("Dense", path.name) for path in layout.dense)]
    steps.append(("Normalize", f"{len(steps)}_Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(steps)
    ]
    write_json(folder / "modules.json", modules)
    config: dict[str, Any] = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": "", "document": ""} | settings.prompts,
        "default_prompt_name": settings.default_prompt,
        "similarity_fn_name": "cosine",
    }
    if settings.dims is not None:
        config["truncate_dim"] = settings.dims
    write_json(folder / "config_sentence_transformers.json", config)
    lower = settings.lower_case
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": lower})
    modes: dict[str, Any] = {old: mode in settings.pooling.modes for mode, old in _OLD_MODES.items()}
    if settings.pooling.modes != tuple(mode for mode in MODES if mode in settings.pooling.modes):
        modes["pooling_mode"] = list(settings.pooling.modes)  # an order that the older keys cannot say
    pooling = {"word_embedding_dimension": width, **modes, "include_prompt": settings.pooling.include_prompt}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    for name, values in _tokenizer_files(layout, pad).items():
        write_json(folder / name, values | ({"model_max_length": max_tokens} if name == _TOKENIZER_FILES[0] else {}))
    if settings.trained_dims:
        write_json(folder / "firth.json", {"trained_dims": list(settings.trained_dims)})


def object_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file; FormatError where it holds something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object, got {type(value).__name__}", path=path)
    return value


def _layout(folder: Path, bert: Path, pooling: Pooling, dense: tuple[Path, ...]) -> Layout:
    sentence = next((bert / name for name in _SENTENCE_CONFIGS if (bert / name).is_file()), None)
    limits = object_in(sentence) if sentence else {}
    files = {name: object_in(bert / name) for name in _TOKENIZER_FILES if (bert / name).is_file()}
    longest = limits.get("max_seq_length") or files.get("tokenizer_config.json", {}).get("model_max_length")
    prompts, default, dims = _read_prompts(folder / "config_sentence_transformers.json")
    settings = EncoderSettings(
        pooling=pooling,
        prompts=prompts,
        default_prompt=default,
        max_tokens=_size(longest, sentence or bert / "tokenizer_config.json", "longest text"),
        lower_case=bool(limits.get("do_lower_case", False)),
        dims=dims,
        trained_dims=_read_trained(folder / "firth.json"),
    )
    return Layout(settings, bert, dense, files)


def _steps(path: Path) -> list[tuple[str, Path]]:
    """Class name and folder of each step in modules.json."""
    listed = read_json(path)
    if not isinstance(listed, list) or not all(isinstance(step, dict) for step in listed):
        raise FormatError("expected a list of objects with 'type' and 'path'", path=path)
    steps = []
    for step in listed:
        kind, place = str(step.get("type")), step.get("path")
        name = kind.rpartition(".")[2]
        if name not in _STEPS or not kind.startswith("sentence_transformers."):
            raise ModelError(f"{path}: step {kind!r} is not known; firth reads {', '.join(_STEPS)}")
        if not isinstance(place, str) or Path(place).is_absolute() or ".." in Path(place).parts:
            raise FormatError(f"step {kind!r} lies at {place!r}; expected a folder inside this one", path=path)
        steps.append((name, path.parent / place))
    return steps


def _read_pooling(path: Path) -> Pooling:
    config = object_in(path)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for mode, old in _OLD_MODES.items() if config.get(old)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list):
        raise FormatError(f"pooling_mode is {modes!r}; expected a name or a list of names", path=path)
    try:
        return Pooling(tuple(map(str, modes)), bool(config.get("include_prompt", True)))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _read_prompts(path: Path) -> tuple[dict[str, str], str | None, int | None]:
    if not path.is_file():
        return {}, None, None
    config = object_in(path)
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise FormatError("prompts: expected an object of names and texts", path=path)
    if default is not None and default not in prompts:
        raise FormatError(f"default_prompt_name is {default!r}, which is not among {sorted(prompts)}", path=path)
    said = {name: text for name, text in prompts.items() if text}  # an empty prompt is none
    return said, default if default in said else None, _size(config.get("truncate_dim"), path, "truncate_dim")


def _read_trained(path: Path) -> tuple[int, ...]:
    if not path.is_file():
        return ()
    dims = object_in(path).get("trained_dims", [])
    if not isinstance(dims, list):
        raise FormatError(f"trained_dims is {dims!r}; expected a list of whole numbers", path=path)
    return tuple(sorted(size for value in dims if (size := _size(value, path, "trained_dims")) is not None))


def _size(value: Any, path: Path, what: str) -> int | None:
    """A positive whole number, None where none is stated."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value < 1:
        raise FormatError(f"{what} is {value!r}; expected a positive whole number", path=path)
    return int(min(value, _MOST_TOKENS))


def _tokenizer_files(layout: Layout, pad: str | None) -> dict[str, dict[str, Any]]:
    """The files carried along, or for a tokenizer made here the least that transformers needs."""
    if layout.tokenizer_files:
        return layout.tokenizer_files
    return {_TOKENIZER_FILES[0]: {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad or "[PAD]"}}
