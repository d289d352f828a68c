"""What tests of the page share: waiting for what it shows, and a small collection that looks like text."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np

from firth.arrays import Vectors, unit

PATIENCE = 60.0  # seconds
TOPICS = {
    "birds": "robin sings in the old garden while swallows circle above the barn at dusk",
    "money": "shares fell sharply on monday after the bank raised its interest rates again",
    "cooking": "simmer the onions slowly in butter until they are soft and golden then add flour",
    "space": "the probe sent pictures of the rings and a faint moon from beyond the planet",
}
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class Topical:
    """An Encoder whose words are random directions, so that texts with like words are near."""

    dims, max_tokens, trained_dims = 64, None, (64,)

    def __init__(self, seed: int = 7919) -> None:
        self.seed = seed
        self.fingerprint = f"topical {seed}"

    def encode(self, texts: Any, *, kind: Any = None, dims: Any = None, progress: bool = False) -> Vectors:
        rows = np.full((len(texts), self.dims), 1e-3, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row += np.random.default_rng(sum(map(ord, word)) * self.seed + len(word)).normal(size=self.dims)
        return unit(rows)


def documents() -> tuple[list[int], list[str], list[str], list[dict[str, Any]]]:
    rng, ids, titles, texts, payloads = np.random.default_rng(0), [], [], [], []
    for i in range(160):
        topic = list(TOPICS)[i % 4]
        words = TOPICS[topic].split()
        ids.append(i)
        titles.append(f"About {topic}, note {i}")
        texts.append(" ".join(rng.permutation(words)[:9]) + ". " + TOPICS[topic] + ".")
        payloads.append({"topic": topic, "year": 2018 + i % 6, "draft": i % 5 == 0})
    return [*ids, 999], [*titles, f"Evil {EVIL}"], [*texts, f"robin {EVIL}"], [*payloads, {"topic": EVIL, "year": 1}]


def until(tab: Any, expression: str) -> None:
    """Wait for an expression to be true; Playwright's own way evaluates strings in the page, which the page forbids."""
    deadline = time.monotonic() + PATIENCE
    while not tab.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)
