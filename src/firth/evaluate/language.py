"""Which language a text is in, told by py3langid (an extra): for slices, strata and probes by language.

Source: Lui & Baldwin 2012, "langid.py: An off-the-shelf language identification tool"; 97 languages, by byte n-grams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firth.errors import MissingExtraError

FEWEST_LETTERS = 12  # shorter texts are as often told wrongly as not
UNKNOWN = "unknown"


def teller() -> Callable[[str], str]:
    """A function from a text to its language's code ("de"), or "unknown" where it is too short to tell.

    Raises:
        MissingExtraError: py3langid is not installed.
    """
    identifier = _identifier()

    def language(text: str) -> str:
        if sum(letter.isalpha() for letter in text) < FEWEST_LETTERS:
            return UNKNOWN
        return str(identifier.classify(text)[0])

    return language


def _identifier() -> Any:
    try:
        import py3langid
    except ImportError as error:
        raise MissingExtraError("py3langid", "languages", "telling languages apart") from error
    return py3langid
