"""Keys: who may read, write or administer. Only their hashes are kept, and comparing takes the same time for all.

A key is 32 random bytes, so a plain SHA-256 of it cannot be turned back by guessing; passwords would need a slow hash.
The file is JSON: [{"name": "app", "scope": "read", "sha256": "…"}, …]; `firth key` writes it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from firth import files
from firth.errors import FormatError, SettingsError
from firth.serve.wire import Scope

PREFIX = "firth_"  # so that a leaked key is recognised for what it is
SCOPES: dict[str, int] = {"read": 1, "write": 2, "admin": 3}  # each allows what is before it
_NAME = re.compile(r"[\w.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the file."""

    name: str
    scope: str
    sha256: str

    def allows(self, scope: Scope) -> bool:
        """Whether it opens what needs `scope`."""
        return scope == "open" or SCOPES[self.scope] >= SCOPES[scope]


class Keys:
    """The keys of a server; empty = nobody needs one."""

    def __init__(self, keys: tuple[Key, ...] = ()) -> None:
        self.keys = keys

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read the file.

        Raises:
            FormatError: not such a file, or without a single key, which would let everybody in.
        """
        entries = files.read_json(path)
        if not isinstance(entries, list) or not entries:
            raise FormatError("expected a list of keys with at least one; firth key makes them", path=path)
        return cls(tuple(_checked(entry, path) for entry in entries))

    def __bool__(self) -> bool:
        return bool(self.keys)

    def find(self, shown: str) -> Key | None:
        """The entry of a key that a caller showed; every entry is compared, whatever the first one said."""
        digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def add_key(path: Path, name: str, scope: str) -> str:
    """Put a new key into the file, in place of an older one of this name; the key itself, which is kept nowhere.

    Raises:
        SettingsError: a name or scope that is none.
    """
    if scope not in SCOPES:
        raise SettingsError(f"key {name!r}: scope={scope!r}: expected {', '.join(SCOPES)}")
    if not _NAME.fullmatch(name):
        raise SettingsError(f"key {name!r}: expected up to 64 letters, digits, dots, dashes or underscores")
    entries = files.read_json(path) if path.exists() else []
    known = [_checked(entry, path) for entry in entries]
    shown = PREFIX + secrets.token_urlsafe(32)
    kept = [key for key in known if key.name != name]
    kept.append(Key(name, scope, hashlib.sha256(shown.encode()).hexdigest()))
    files.write_json(path, [{"name": key.name, "scope": key.scope, "sha256": key.sha256} for key in kept])
    path.chmod(0o600)
    return shown


def presented(headers: dict[str, str]) -> str | None:
    """The key that a caller shows: `Authorization: Bearer …` or `api-key: …`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return headers.get("api-key") or None


def _checked(entry: object, path: Path) -> Key:
    if not isinstance(entry, dict) or set(entry) != {"name", "scope", "sha256"}:
        raise FormatError(f"expected name, scope and sha256 of each key, got {entry!r:.100}", path=path)
    name, scope, digest = entry["name"], entry["scope"], entry["sha256"]
    if not all(isinstance(value, str) for value in (name, scope, digest)):
        raise FormatError(f"expected strings, got {entry!r:.100}", path=path)
    if not _NAME.fullmatch(name) or scope not in SCOPES or not _DIGEST.fullmatch(digest):
        raise FormatError(
            f"key {name!r:.80}: scope must be one of {', '.join(SCOPES)}, sha256 64 hex digits", path=path
        )
    return Key(name, scope, digest)
