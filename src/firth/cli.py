"""The command line: one sub-command a recipe, its flags read off the recipe's `Settings`.

A recipe module has `Settings` (a frozen dataclass whose fields are `Annotated[type, "help"]`; before the help may stand
a short flag, or a name like "WORDS" for an argument that has a default), `run(settings) -> result` and
`show(result, console)`; `--json` prints the result's `as_json()`.
Only the module of the command that was asked for is imported, so that `firth --help` starts fast.

Exit codes: 0 done, 1 error, 2 usage, 3 a gate failed, 4 bad data, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import typing
import warnings
from collections.abc import Callable
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any

import typer

COMMANDS = {
    "build": "A domain folder in; a tuned, indexed, measured search out.",
    "search": "Ask a built folder a question.",
    "serve": "A built folder, collections or a model over HTTP, with a page to look at.",
    "key": "A key for the server.",
    "eval": "Measure a model or a built folder on a test set.",
    "probe": "Where a model fails, on your own documents.",
    "encode": "Turn documents into a folder of vectors.",
    "compress": "Measure every codec on your vectors, or write the codes of one.",
    "mine": "Find hard negatives for a domain's training pairs.",
    "tune": "Fine-tune a model on a domain's pairs.",
    "export": "Carry a collection to pgvector, Milvus, Qdrant or Parquet, and compare.",
    "import": "Make a collection of what is in pgvector, Milvus, Qdrant, Parquet, .npy, faiss or hnswlib.",
    "fill": "Guess the words that stand at [MASK].",
    "context": "A word's occurrences in a text, grouped by meaning.",
    "demo": "The whole way on SciFact, in minutes.",
    "doctor": "What this installation can do, what is missing.",
}
GROUPS = {
    "index": "Build an index from vectors, search, tune, import and export it.",
    "words": "Train word vectors, grade them, ask them, draw them.",
    "pretrain": "Train ELMo or BERT from raw text.",
    "testset": "Draft a test set of your own, take a reviewed one, find its faults.",
}
INTERRUPTED = 130
AS_JSON = typer.Option("--json", help="Print the result as JSON on stdout; progress stays on stderr.")
CONFIG = typer.Option("--config", help="TOML file of settings; flags win over it.")


def main() -> None:
    """Entry point of the `firth` command."""
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(help="The best, cheapest vector search over one domain's documents, with proof.")(_root)
    for name, summary in COMMANDS.items():
        app.command(name, help=summary)(_of_recipe(name) if name == wanted else _listed)
    for name, summary in GROUPS.items():
        group = import_module(f"firth.recipes.{name}").app if name == wanted else typer.Typer()
        if name != wanted:
            group.command()(_listed)
        app.add_typer(group, name=name, help=summary)
    warnings.showwarning = _note  # type: ignore[assignment]
    app()


def _listed() -> None:
    """Stands for a command in the list; the real one is imported when it is asked for."""


def _version(wanted: bool) -> None:
    if wanted:
        from firth import __version__

        print(f"firth {__version__}")
        raise typer.Exit


def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """The group itself does nothing."""


def _of_recipe(name: str) -> Callable[..., None]:
    recipe = import_module(f"firth.recipes.{name}_" if iskeyword(name) else f"firth.recipes.{name}")
    return command(recipe.Settings, recipe.run, recipe.show)


def command(settings: Any, run: Callable[[Any], Any], show: Callable[[Any, Any], None]) -> Callable[..., None]:
    """A function whose parameters are the fields of a settings dataclass, for typer to read the flags from."""
    fields = dataclasses.fields(settings)
    hints = typing.get_type_hints(settings, include_extras=True)

    def told(**values: Any) -> None:
        as_json, config = values.pop("json"), values.pop("config")
        from firth.errors import GateError

        with reporting():
            if config is not None:
                values |= _from_toml(config, values, {field.name: field for field in fields}, hints)
            result = run(settings(**values))
            if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun one speaks
                present(result, show, as_json=as_json)
            if missed := getattr(result, "missed_gates", ()):
                raise GateError("; ".join(missed))

    parameters = [_parameter(field, hints[field.name]) for field in fields]
    for name, default, hint in (
        ("json", False, Annotated[bool, AS_JSON]),
        ("config", None, Annotated[Path | None, CONFIG]),
    ):
        parameters.append(_keyword(name, default, hint))
    told.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return told


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    """One setting as typer sees it: named, or without a default and a short flag, it is an argument, else an option."""
    kind, *words = typing.get_args(hint)
    *flags, text = words
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    long = f"--{field.name.replace('_', '-')}"
    made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    default: Any = inspect.Parameter.empty if required else made
    if required and not flags:
        return _keyword(field.name, default, Annotated[kind, typer.Argument(help=text)])
    if flags and not flags[0].startswith("-"):
        return _keyword(field.name, default, Annotated[kind, typer.Argument(help=text, metavar=f"[{flags[0]}]")])
    option = typer.Option(*([] if kind is bool else [long, *flags]), help=text)
    return _keyword(field.name, default, Annotated[kind, option])


def _keyword(name: str, default: Any, hint: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _from_toml(
    path: Path, given: dict[str, Any], fields: dict[str, dataclasses.Field[Any]], hints: dict[str, Any]
) -> dict[str, Any]:
    """Settings named in the file, except those that a flag changed from its default."""
    import tomllib

    from firth.errors import SettingsError

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path}: not TOML: {error}") from error
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise SettingsError(f"--config {path}: unknown setting {unknown[0]!r}; known are {', '.join(fields)}")
    values = {}
    for name, value in table.items():
        if given[name] not in (fields[name].default, []):  # a flag has said otherwise
            continue
        kind = typing.get_args(hints[name])[0]
        accepted = (list,) if typing.get_origin(kind) is list else typing.get_args(kind) or (kind,)
        if Path in accepted and isinstance(value, str):
            value = Path(value)
        if float in accepted and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            names = " or ".join(getattr(t, "__name__", str(t)) for t in accepted)
            raise SettingsError(f"--config {path}: {name} = {value!r}: expected {names}")
        values[name] = value
    return values


class reporting:  # noqa: N801 - reads as a statement: with reporting(): ...
    """Turns deliberate errors into one line on stderr and an exit code; a bug keeps its traceback."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if isinstance(error, KeyboardInterrupt):
            print("\nstopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        from firth.errors import FirthError

        if isinstance(error, FirthError):
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        if isinstance(error, BrokenPipeError):  # whoever read our output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        if isinstance(error, OSError):
            print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
            raise typer.Exit(1) from None


def present(result: Any, show: Callable[[Any, Any], None], *, as_json: bool) -> None:
    """The result on stdout: as JSON for programs, as `show` draws it for people."""
    if as_json:
        import json

        print(json.dumps(result.as_json(), indent=2, ensure_ascii=False, allow_nan=False), flush=True)
    else:
        from rich.console import Console

        show(result, Console(highlight=False))


def _note(message: Warning | str, category: type[Warning], *_: Any) -> None:
    label = "note" if issubclass(category, UserWarning) else category.__name__
    print(f"{label}: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
