"""The notification of another service about the outcome of a run, by one HTTP POST."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from image_features.errors import EXIT_GUARDED, ImageFeaturesError
from image_features.pipeline.config import RunConfig, utc_now
from image_features.transforms.stores.http_session import HttpPolicy, authorization
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    retry_after,
    with_retries,
)
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

_LOG = logging.getLogger(__name__)
_TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
# The end of a run is held up by half a minute at worst, and by a minute where the service hangs.
_RETRIES = RetryPolicy(max_attempts=4, backoff_base=1.0, backoff_max=10.0)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def notify(
    url: str, message: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Posts a message as JSON; if it does not arrive, a warning is logged and no more.

    The address was given by the operator, so it may be a private one, unlike a manifest's.

    Args:
      url: The http(s) address, with user and password if need be. Logs show its host only, since
        the paths of web hooks are secrets as a rule.
      message: The object to post.
      sleep: The function that waits between attempts; tests pass a fake.

    Returns:
      Whether the service took the message.
    """
    data = json.dumps(message).encode()
    try:
        with_retries(lambda: _post(url, data), _RETRIES, sleep)
    except FetchError as error:
        _LOG.warning("Nobody was notified: %s", error)
        return False
    return True


def notify_failure(url: str | None, run: RunConfig, error: ImageFeaturesError) -> None:
    """Posts what went wrong with a run; without an address it posts nothing."""
    if url is None:
        return
    guarded = error.exit_code == EXIT_GUARDED
    message = {
        "run_id": run.run_id,
        "state": "STOPPED_BY_GUARD" if guarded else "FAILED",
        "error": str(error),
        "exit_code": error.exit_code,
        "directory": redact_uri(run.layout.directory),
        "started": run.started,
        "finished": utc_now(),
    }
    notify(url, message)


def _post(url: str, data: bytes) -> None:
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": HttpPolicy().user_agent,
        **authorization(parts),
    }
    try:
        response = urllib3.request(
            "POST",
            url,
            body=data,
            headers=headers,
            timeout=_TIMEOUT,
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.LocationParseError as error:
        raise FetchError(Reason.CONNECTION_FAILED, f"{shown} is not a valid URL.") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # The error's own text may hold the whole address.
        raise PassingError(
            Reason.CONNECTION_FAILED, f"{shown} cannot be reached ({type(error).__name__})."
        ) from error
    if 200 <= response.status < 300:
        return
    message = f"{shown} answered {response.status}."
    if response.status in _PASSING:
        wait = retry_after(response.headers.get("Retry-After"))
        raise PassingError(Reason.SERVER_ERROR, message, wait)
    raise FetchError(Reason.HTTP_ERROR, message)
