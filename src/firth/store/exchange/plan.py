"""What is carried from one engine to another, and what an engine has to be able to do for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from firth.arrays import Vectors
from firth.errors import DataError, FormatError, SettingsError
from firth.store.records import Key, Record
from firth.store.schema import IndexSettings, VectorSettings


@dataclass(frozen=True)
class Plan:
    """Shape of a collection, without its rows.

    Attributes:
        vectors: settings of each set of vectors; the unnamed one is called "".
        fields: declared payload fields: path -> kind ("keyword", "number", "time").
        count: documents; an import that cannot know says -1.
        numbered: whether every key is an integer; otherwise keys travel as strings.
        models: fingerprint of the model that made each set of vectors, where it is known.
    """

    vectors: Mapping[str, VectorSettings]
    fields: Mapping[str, str] = field(default_factory=dict)
    count: int = -1
    numbered: bool = False
    models: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a file that travels with the rows."""
        return {
            "vectors": {name: asdict(settings) for name, settings in self.vectors.items()},
            "fields": dict(self.fields),
            "count": self.count,
            "numbered": self.numbered,
            "models": dict(self.models),
        }

    @classmethod
    def from_json(cls, value: Any, path: str) -> Plan:
        """What `as_json` wrote.

        Raises:
            FormatError: something else, or settings out of range.
        """
        try:
            vectors = {
                str(name): VectorSettings(**{**told, "index": IndexSettings(**told["index"])})
                for name, told in value["vectors"].items()
            }
            fields = {str(name): str(kind) for name, kind in value["fields"].items()}
            models = {str(name): str(print_) for name, print_ in value["models"].items()}
            return cls(vectors, fields, int(value["count"]), bool(value["numbered"]), models)
        except (KeyError, TypeError, ValueError, AttributeError, SettingsError) as error:
            raise FormatError(f"no plan of an export ({type(error).__name__}: {error})", path=path) from error


@runtime_checkable
class Target(Protocol):
    """An engine that a collection can be written into. Writing a key again replaces what was there."""

    where: str

    def prepare(self, plan: Plan, *, fresh: bool) -> None:
        """Make the tables, or check that those that are there fit; with `fresh` take them away first.

        Raises:
            SettingsError: what is there has another shape, or the plan asks for more than the engine can.
        """

    def write(self, records: Sequence[Record]) -> None:
        """Store these; they are there when this returns."""

    def finish(self) -> None:
        """All are written: build the indexes."""

    def count(self) -> int:
        """Documents that are there."""

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """The vectors (d,) called `name` of these keys; one that is not there is absent."""

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """The k nearest of each query (q, d) by the engine's own index, best first."""

    def close(self) -> None:
        """Let go of the connection."""


@runtime_checkable
class Supply(Protocol):
    """An engine or file that documents can be read from, in an order that is the same each time."""

    where: str

    def plan(self) -> Plan:
        """What is there."""

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Documents a page at a time, each with the mark (JSON) from which reading goes on; None = from the start."""

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """As of a target."""

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """As of a target; an empty list where there is nothing to ask."""

    def close(self) -> None:
        """Let go of the connection."""


def keys_as_strings(keys: Iterator[Key]) -> bool:
    """Whether the keys have to travel as strings, because one of them is a string.

    Raises:
        DataError: 1 and "1" are both there and would become one.
    """
    numbers: set[int] = set()
    strings = False
    for key in keys:
        if isinstance(key, int):
            numbers.add(key)
            continue
        strings = True
        if key.removeprefix("-").isdecimal() and str(int(key)) == key and int(key) in numbers:
            raise DataError(f"keys {key} and {key!r} are two documents here and would be one there; rename one of them")
    return strings
