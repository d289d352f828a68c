"""How often each caller may come: a bucket of tokens that fills at a steady rate."""

from __future__ import annotations

MOST = 10_000  # callers that are remembered; the fullest buckets are forgotten first, which nobody notices


class Buckets:
    """`rate` requests a second for each caller, `burst` seconds' worth at once; rate 0 = no bound."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate * burst)
        self._left: dict[str, tuple[float, float]] = {}  # caller -> (tokens, when they were counted)

    def take(self, caller: str, now: float) -> float:
        """Take one token; 0, or the seconds until there is one.

        >>> buckets = Buckets(rate=2, burst=1)
        >>> [buckets.take("a", 0.0) for _ in range(3)]
        [0.0, 0.0, 0.5]
        """
        if self._rate == 0:
            return 0.0
        tokens, then = self._left.get(caller, (self._size, now))
        tokens = min(self._size, tokens + (now - then) * self._rate)
        if tokens < 1:
            self._left[caller] = tokens, now
            return (1 - tokens) / self._rate
        if caller not in self._left and len(self._left) >= MOST:
            full = sorted(self._left, key=lambda name: self._left[name][0] + (now - self._left[name][1]) * self._rate)
            for name in full[MOST // 2 :]:
                del self._left[name]
        self._left[caller] = tokens - 1, now
        return 0.0
