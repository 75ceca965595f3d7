"""The time by which a fetch must have ended, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """A number of seconds that all parts of something share.

    Args:
      seconds: The seconds from now on.
      clock: Tells the time in seconds; a fake in tests.

    Attributes:
      seconds: The seconds that there were in the beginning.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Returns the seconds that are left; none or fewer when it has passed."""
        return self._end - self._clock()

    def at_most(self, seconds: float) -> float:
        """Returns the seconds that a part may take, which would take more if it could.

        Raises:
          TimeoutError: none are left.
        """
        left = self.left()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return min(seconds, left)

    def renew(self) -> None:
        """Gives as many seconds as in the beginning, from now on."""
        self._end = self._clock() + self.seconds

    def extend(self, seconds: float) -> None:
        """Gives some seconds more, such as those in which nothing was waited for."""
        self._end += seconds
