"""JSON to a service and back over HTTPS: waits when told to, tries again what may pass, tells what will not.

A key never travels unencrypted, nor to another place that an answer points to, and stands in no error.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from firth.errors import ServiceError, SettingsError

TRIES = 6  # of one request; at the default waits about half a minute in all
FIRST_WAIT = 0.5  # seconds before the second try, doubled each time
LONGEST_WAIT = 120.0  # seconds; a service that asks for more is not waited for
TIMEOUT = 60.0  # seconds without a byte
MOST_BYTES = 512 << 20  # of an answer; 2,048 vectors of 3,072 dimensions as text are 130 MB
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # statuses that may pass
LOCAL = ("127.0.0.1", "localhost", "::1")
_SHOWN = 300  # characters of a service's complaint


class RefusedError(ServiceError):
    """The service understood the request and said no; `status` and its own words are kept."""

    def __init__(self, message: str, *, status: int, told: str) -> None:
        super().__init__(message)
        self.status = status
        self.told = told


def post(
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    secret: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """The JSON answer to a JSON request.

    429 and errors of the server are tried again, after as long as Retry-After says, else after 0.5, 1, 2, … seconds.

    Args:
        secret: taken out of whatever is told.
        sleep: waits; tests hand in one that does not.

    Raises:
        RefusedError: another status than 200, or one that did not pass.
        ServiceError: no connection, or an answer that is no JSON.
        SettingsError: an address that is not HTTPS and not this machine.
    """
    place = urlsplit(url)
    if place.scheme != "https" and not (place.scheme == "http" and place.hostname in LOCAL):
        raise SettingsError(f"{url}: a key is sent over https only (http is for this machine)")
    host = place.hostname or url
    request = urllib.request.Request(
        url,
        json.dumps(body, allow_nan=False).encode(),
        {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "firth", **headers},
        method="POST",
    )
    for attempt in range(1, TRIES + 1):
        pause = FIRST_WAIT * 2 ** (attempt - 1) * (1 + random.random() / 4)  # not all clients at the same moment
        often = f"; tried {TRIES} times" if attempt == TRIES else ""
        try:
            with _OPENER.open(request, timeout=TIMEOUT) as answer:
                raw = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            asked = _retry_after(error.headers)
            refused = _refused(error, host, secret, asked, often)
            pause = pause if asked is None else asked
            passing = error.code in PASSING and "insufficient_quota" not in refused.told and pause <= LONGEST_WAIT
            if attempt == TRIES or not passing:
                raise refused from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if attempt == TRIES or isinstance(reason, ssl.SSLCertVerificationError):
                told = f"no answer: {reason}{often}; is there a network? What is done is kept"
                raise ServiceError(f"{host}: {told}") from None
        else:
            return _parsed(raw, host)
        sleep(pause)
    raise AssertionError("the last try returns or raises")


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer like another: following it would carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _parsed(raw: bytes, host: str) -> Any:
    if len(raw) > MOST_BYTES:
        raise ServiceError(f"{host}: the answer is longer than {MOST_BYTES >> 20} MB")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"{host}: the answer is not JSON ({len(raw):,} bytes): {raw[:80]!r}") from error


def _refused(error: urllib.error.HTTPError, host: str, secret: str, asked: float | None, often: str) -> RefusedError:
    told = _told(error, secret)
    wait = f"; it asks to wait {asked:,.0f} s: run it again then, what is done is kept" if asked else ""
    return RefusedError(f"{host} answered {error.code}: {told}{wait}{often}", status=error.code, told=told)


def _told(error: urllib.error.HTTPError, secret: str) -> str:
    """What the service said, in one line, the key taken out."""
    text = error.read(1 << 16).decode(errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, dict):
            parts = [inner.get("message") or inner.get("detail"), inner.get("code"), inner.get("type")]
            value = " ".join(str(part) for part in parts if part) or text
        else:
            value = value.get("message") or inner
    line = " ".join(str(value).split())
    if secret:
        line = line.replace(secret, "<key>")
    return line[:_SHOWN] or (error.reason if isinstance(error.reason, str) else "")


def _retry_after(headers: Any) -> float | None:
    """Seconds that the service asks to wait: retry-after-ms, or Retry-After as seconds or as a date."""
    for name, seconds in (("retry-after-ms", _milliseconds), ("Retry-After", float), ("Retry-After", _until)):
        try:
            return max(0.0, seconds(headers.get(name)))
        except (TypeError, ValueError):  # not there, or written in another of the three ways
            continue
    return None


def _milliseconds(value: str) -> float:
    return float(value) / 1000


def _until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
