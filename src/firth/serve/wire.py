"""What the protocols share: a call, a reply, a refusal, and what each knows how to do.

A handler is `async def handler(call) -> Reply`. It raises `Refused`, or any of firth's errors; its protocol's `failure`
gives that the shape which its clients read.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np
import orjson

from firth.errors import (
    DataError,
    FirthError,
    FormatError,
    LockedError,
    MissingExtraError,
    ModelError,
    SettingsError,
    ShapeError,
    StorageError,
)

if TYPE_CHECKING:
    from firth.serve.app import Server

T = TypeVar("T")
Scope = Literal["open", "read", "write", "admin"]
SHOWN = 200  # characters of what a caller sent that an error repeats
DEEPEST = 64  # objects and lists inside each other in a payload; SQLite's JSON ends at 1,000


class Refused(FirthError):
    """A request that is answered with `status`; `param` names the field, `after` the seconds to wait."""

    def __init__(self, status: int, message: str, *, param: str | None = None, after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.after = after


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One request, wholly read.

    Attributes:
        path, query: parameters of the address.
        headers: by lower-case name.
        who: name of the key that was shown; "" where nobody needs one.
        started: time.perf_counter() when it came.
        rows: of the answer or the write, for the log.
    """

    server: Server
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    who: str
    started: float
    rows: int = 0

    def read(self, type_: type[T]) -> T:
        """The body as a msgspec type.

        Raises:
            Refused: 400, not JSON or not of this shape; names the field.
        """
        if not self.body:
            raise Refused(400, "the body is empty; expected a JSON object")
        try:
            value = msgspec.json.decode(self.body, type=type_)
        except msgspec.ValidationError as error:
            raise Refused(400, f"the body is not as expected: {error}", param=_param(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON: {str(error)[:SHOWN]}") from error
        return value

    async def work(self, task: Callable[..., T], *args: Any, **settings: Any) -> T:
        """`task` in a thread for reading."""
        return await self.server.reading(task, *args, **settings)

    async def write(self, task: Callable[..., T], *args: Any, **settings: Any) -> T:
        """`task` in a thread for writing; few of them, so that writers cannot keep readers waiting."""
        return await self.server.writing(task, *args, **settings)


Handler = Callable[[Call], Awaitable[Reply]]
Failure = Callable[[int, str, str | None], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route.

    Attributes:
        path: with {parameters}.
        scope: what a key must allow; "open" = no key needed.
        failure: (status, message, param) -> JSON of an error, as this protocol's clients read it.
        body: msgspec type of the body, for /openapi.json.
    """

    method: str
    path: str
    scope: Scope
    handler: Handler
    failure: Failure
    body: Any = None
    summary: str = ""


def reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """JSON; NumPy arrays are written as lists, without a detour."""
    return Reply(as_json(value), status, headers=headers or {})


def as_json(value: Any) -> bytes:
    """JSON of plain values and NumPy arrays."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS, default=_plain)
    except TypeError:  # a payload may hold integers beyond 64 bits, which orjson does not write
        return json.dumps(value, default=_plain).encode()


def status_of(error: FirthError) -> int:
    """Whose fault it was: the caller's (4xx), or ours (5xx)."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, LockedError):
        return 409
    if isinstance(error, FormatError | MissingExtraError):
        return 500
    if isinstance(error, StorageError):
        return 507
    caller = (SettingsError, DataError, ShapeError, ModelError)
    return 400 if isinstance(error, caller) else 500


def checked_depth(value: Any, deepest: int, what: str) -> None:
    """Refuse what is nested deeper than `deepest`, without recursion."""
    level = [value]
    for _ in range(deepest + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise Refused(400, f"{what}: nested more than {deepest} deep", param=what)


def unsupported(fields: Mapping[str, Any], why: str = "it would change the result") -> None:
    """Refuse the fields that were given and are not supported, by name."""
    for name, value in fields.items():
        if value is not None and value is not False and value is not msgspec.UNSET:
            raise Refused(400, f"not supported: {name} ({why})", param=name)


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, dict | list)]
    if isinstance(value, list):
        return [inner for inner in value if isinstance(inner, dict | list)]
    return ()


def _param(message: str) -> str | None:
    """The field that msgspec names: "… - at `$.input[0]`", or "… unknown field `x`"."""
    _, _, path = message.partition("at `$.")
    if path:
        return path.rstrip("`")
    _, _, name = message.partition("field `")
    return name.split("`")[0] or None


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"not JSON: {type(value).__name__}")
