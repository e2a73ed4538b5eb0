"""How many requests of one address a server answers in a minute."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class RateLimit:
    """Counts the requests of each address, and forgets them after a minute.

    Args:
        per_minute: of one address.
        clock: the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self._lock = threading.Lock()
        self._begun = clock()
        self._counts: Counter[str] = Counter()

    def allows(self, address: str) -> bool:
        """Count a request, and say whether it is to be answered."""
        with self._lock:
            now = self.clock()
            if now - self._begun >= 60:
                self._begun = now
                self._counts.clear()
            self._counts[address] += 1
            return self._counts[address] <= self.per_minute
