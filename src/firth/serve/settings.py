"""What a server listens on and what it lets one caller, and all callers together, ask for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from firth.errors import SettingsError

PORT = 8411


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep a server alive; what is beyond them is answered 413 (too large), 400 or 429 (too much at once).

    Attributes:
        body: bytes of one request.
        bodies: bytes of all requests that are being read or worked on.
        requests: requests being worked on.
        queue: texts that wait for the model.
        batch: texts of one request for embeddings or reranking.
        characters: of one text.
        points: documents of one write, one page or one search.
        dims: width of a collection's vectors.
        depth: objects and lists inside each other in a filter.
        queries: queries of one batch, or prefetches of one query.
        patience: seconds in which a request's body must have come.
        rate: requests a second for each key (each address where there are no keys); 0 = as many as come.
        burst: seconds' worth of `rate` that may come at once.
    """

    body: int = 64 << 20
    bodies: int = 512 << 20
    requests: int = 512
    queue: int = 16_384
    batch: int = 2_048
    characters: int = 1_000_000
    points: int = 10_000
    dims: int = 8_192
    depth: int = 20
    queries: int = 100
    patience: float = 30.0
    rate: float = 0.0
    burst: float = 5.0

    def __post_init__(self) -> None:
        for name in ("body", "bodies", "requests", "queue", "batch", "characters", "points", "dims", "depth"):
            if getattr(self, name) < 1:
                raise SettingsError(f"serve: {name}={getattr(self, name)}: expected at least 1")
        if self.rate < 0 or self.patience <= 0 or self.burst <= 0 or self.queries < 1:
            raise SettingsError(f"serve: rate, patience, burst and queries must be positive, got {self}")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is reached.

    Attributes:
        host: address to listen on.
        port: 0 = any free one.
        keys: file of hashed keys (keys.py); None = nobody needs one.
        insecure: listen beyond this machine although nobody needs a key.
        hosts: names besides localhost by which a server without keys may be called; a page in a browser that was
            led here by a foreign name is turned away.
        certificate, certificate_key: files for TLS.
        threads: searches at once.
        sampled: share of the searches that are repeated exactly, for the recall that /metrics tells.
        grace: seconds that accepted requests have to finish when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    keys: Path | None = None
    insecure: bool = False
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    certificate_key: Path | None = None
    threads: int = 8
    sampled: float = 0.01
    grace: float = 30.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.threads < 1 or not 0 <= self.sampled <= 1 or not 0 <= self.port < 1 << 16 or self.grace <= 0:
            raise SettingsError(
                f"serve: threads={self.threads}, sampled={self.sampled}, port={self.port}, grace={self.grace}: "
                "expected at least one thread, a share from 0 to 1, a port below 65,536 and some seconds"
            )
        if (self.certificate is None) != (self.certificate_key is None):
            raise SettingsError("serve: TLS needs both the certificate and its key")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or _loopback(self.host)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
