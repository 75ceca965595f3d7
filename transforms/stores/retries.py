"""How every kind of fetch is tried again."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
from collections.abc import Callable
from typing import TypeVar

import tenacity

from image_features.errors import ImageFeaturesError
from image_features.transforms.values import Reason

Out = TypeVar("Out")


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
      backoff_max: The longest wait of all, also where a server asks for more.
    """

    max_attempts: int = 4
    backoff_base: float = 0.5
    backoff_max: float = 30.0


def with_retries(
    action: Callable[[], Out], policy: RetryPolicy, sleep: Callable[[float], None]
) -> tuple[Out, int]:
    """Calls an action until it works; returns its result and the number of attempts.

    Args:
      action: The fetch, which raises PassingError where it may work the next time.
      policy: When to try again.
      sleep: Waits between attempts.

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
        return min(max(jitter(state), asked or 0.0), policy.backoff_max)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.max_attempts),
        wait=wait,
        retry=tenacity.retry_if_exception_type(PassingError),
        sleep=sleep,
        reraise=True,
    )
    try:
        result = retrying(action)
    except FetchError as error:
        error.attempts = retrying.statistics["attempt_number"]
        raise
    return result, retrying.statistics["attempt_number"]


def retry_after(value: str | None) -> float | None:
    """Returns the seconds to wait by a header of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
        return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
