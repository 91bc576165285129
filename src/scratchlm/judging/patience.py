"""How long a judge's server may fail: when to ask it next, and when to give it up."""

from __future__ import annotations

import random
import time

DEFAULT_PATIENCE_S = 60.0
FIRST_WAIT_S = 0.5  # doubles from failure to failure, plus up to half as much again at random
LONGEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0  # of what a server may ask for


class Patience:
    """A server's failures since its last answer, from which follow the wait before the next question and the end.

    It belongs to the server and not to one question: while it is away or busy, nobody asks.
    """

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self.answers = 0
        self.is_over = False  # the server has failed for so long, without one answer, that it counts as gone
        self._failing_since_s: float | None = None
        self._next_wait_s = FIRST_WAIT_S
        self._ask_from_s = 0.0

    @property
    def wait_s(self) -> float:
        """The seconds to go before the next question."""
        return max(0.0, self._ask_from_s - time.monotonic())

    def answered(self) -> None:
        """Note a sign of life."""
        self.answers += 1
        self._failing_since_s = None
        self._next_wait_s = FIRST_WAIT_S
        self._ask_from_s = 0.0

    def failed(self, asked_s: float, retry_after_s: float | None) -> None:
        """Note a failure of a question asked at `asked_s` (monotonic), and the wait that the server asks for."""
        now_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        # Looked at here alone: a slow server's next answer may take longer than all the patience.
        self.is_over = now_s - self._failing_since_s >= self.total_s
        wait_s = min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        if asked_s >= self._ask_from_s:  # of those that fail together only the first makes the wait longer
            wait_s = max(wait_s, self._next_wait_s * random.uniform(1.0, 1.5))
            self._next_wait_s = min(2 * self._next_wait_s, LONGEST_WAIT_S)
        self._ask_from_s = max(self._ask_from_s, now_s + wait_s)
