"""How every kind of fetch is tried again."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
from collections.abc import Callable
from typing import TypeVar

import tenacity

from image_features.errors import ImageFeaturesError
from image_features.system.deadlines import Deadline
from image_features.transforms.values import Reason

Out = TypeVar("Out")

# Beside these, whatever a server says of itself may pass: 503 and 507, 520 to 530 of Cloudflare,
# 509 and 598 of hosts and proxies.
_MAY_PASS = frozenset({408, 420, 425, 429})
_NEVER_PASSES = frozenset({501, 505, 506, 508, 510, 511})


class FetchError(ImageFeaturesError):
    """A fetch that failed for good.

    Attributes:
      reason: The reason, in a word of the closed vocabulary.
      message: A sentence for the user, secrets removed.
      attempts: Tries that were made.
    """

    def __init__(self, reason: Reason, message: str, attempts: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.attempts = attempts

    def __str__(self) -> str:
        return self.message


def too_large(shown: str, max_bytes: int) -> FetchError:
    """Returns the failure of a file beyond the limit."""
    return FetchError(Reason.TOO_MANY_BYTES, f"{shown} is larger than {max_bytes} bytes.")


class PassingError(FetchError):
    """A failure that may pass.

    Attributes:
      retry_after: The seconds that the server asks to wait; None if it does not ask.
    """

    def __init__(self, reason: Reason, message: str, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """When to try again. Times are in seconds.

    Attributes:
      max_attempts: The most tries, the first one included.
      backoff_base: The longest wait before the second try, doubled with each further one.
      backoff_max: The longest wait of all; a server may ask for more if there is a deadline.
    """

    max_attempts: int = 4
    backoff_base: float = 0.5
    backoff_max: float = 30.0


def with_retries(
    action: Callable[[], Out],
    policy: RetryPolicy,
    sleep: Callable[[float], None],
    deadline: Deadline | None = None,
) -> tuple[Out, int]:
    """Calls an action until it works; returns its result and the number of attempts.

    Args:
      action: The fetch, which raises PassingError where it may work the next time.
      policy: When to try again.
      sleep: Waits between attempts.
      deadline: The end of all attempts and waits; None for no end.

    Raises:
      FetchError: the action failed for good, or as often as is allowed; `attempts` is set.
    """
    # Full jitter keeps a thousand workers from knocking in step.
    jitter = tenacity.wait_random_exponential(
        multiplier=policy.backoff_base, max=policy.backoff_max
    )

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, PassingError) else None
        seconds = max(jitter(state), asked or 0.0)
        return seconds if deadline is not None else min(seconds, policy.backoff_max)

    def is_last(state: tenacity.RetryCallState) -> bool:
        # There is no point in a wait after which nothing can be tried any more.
        too_late = deadline is not None and state.upcoming_sleep >= deadline.left()
        return too_late or state.attempt_number >= policy.max_attempts

    retrying = tenacity.Retrying(
        stop=is_last,
        wait=wait,
        retry=tenacity.retry_if_exception_type(PassingError),
        sleep=sleep,
        reraise=True,
    )
    try:
        result = retrying(action)
    except FetchError as error:
        error.attempts = retrying.statistics["attempt_number"]
        if isinstance(error, PassingError) and error.attempts < policy.max_attempts:
            error.message += " There is no time left to try again."
        raise
    return result, retrying.statistics["attempt_number"]


def may_pass(status: int) -> bool:
    """Whether a server that answers with a status may answer otherwise the next time."""
    return status in _MAY_PASS or (status >= 500 and status not in _NEVER_PASSES)


def retry_after(value: str | None) -> float | None:
    """Returns the seconds to wait by a header of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text[:64])
        return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
