"""The notification of another service about the outcome of a run, by one HTTP POST."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from image_features.errors import EXIT_GUARDED, ImageFeaturesError
from image_features.pipeline.config import JobConfig, utc_now
from image_features.system.deadlines import Deadline
from image_features.transforms.stores.http_session import HttpPolicy, HttpSession
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    may_pass,
    retry_after,
    with_retries,
)
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

_LOG = logging.getLogger(__name__)
# The end of a run is held up by a minute at worst, whatever the service does.
_POLICY = HttpPolicy(
    connect_timeout=5.0,
    read_timeout=10.0,
    total_timeout=60.0,
    retries=RetryPolicy(max_attempts=4, backoff_base=1.0, backoff_max=10.0),
    allow_private_hosts=True,
)
_HASTY = dataclasses.replace(_POLICY, total_timeout=5.0, retries=RetryPolicy(max_attempts=1))


def notify(
    url: str,
    message: Mapping[str, Any],
    *,
    policy: HttpPolicy = _POLICY,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Posts a message as JSON; if it does not arrive, a warning is logged and no more.

    The address was given by the operator, so it may be a private one, unlike a manifest's.

    Args:
      url: The http(s) address, with user and password if need be. Logs show its host only, since
        the paths of web hooks are secrets as a rule.
      message: The object to post.
      policy: How patient to be; the total timeout is for everything.
      sleep: The function that waits between attempts; tests pass a fake.

    Returns:
      Whether the service took the message.
    """
    data = json.dumps(message).encode()
    deadline = Deadline(policy.total_timeout)
    session = HttpSession(policy)
    try:
        with_retries(lambda: _post(session, url, data, deadline), policy.retries, sleep, deadline)
    except FetchError as error:
        _LOG.warning("Nobody was notified: %s", error)
        return False
    return True


def notify_commit(url: str, record: Mapping[str, Any]) -> None:
    """Posts the run.json of a committed run, and its state."""
    notify(url, {**record, "state": "COMMITTED"})


def notify_failure(url: str | None, run: JobConfig[Any], error: ImageFeaturesError) -> None:
    """Posts what went wrong with a run; without an address it posts nothing."""
    state = "STOPPED_BY_GUARD" if error.exit_code == EXIT_GUARDED else "FAILED"
    _notify_end(url, run, state, str(error), error.exit_code)


def notify_interruption(url: str | None, run: JobConfig[Any], exit_code: int) -> None:
    """Posts that a signal ends a run, within the seconds that whoever sent it may grant."""
    error = "The run was interrupted by a signal; it is not committed."
    _notify_end(url, run, "INTERRUPTED", error, exit_code, _HASTY)


def _notify_end(
    url: str | None,
    run: JobConfig[Any],
    state: str,
    error: str,
    exit_code: int,
    policy: HttpPolicy = _POLICY,
) -> None:
    if url is None:
        return
    message = {
        "run_id": run.run_id,
        "state": state,
        "error": error,
        "exit_code": exit_code,
        "directory": redact_uri(run.layout.directory),
        "started": run.started,
        "finished": utc_now(),
    }
    notify(url, message, policy=policy)


def _post(session: HttpSession, url: str, data: bytes, deadline: Deadline) -> None:
    scheme, _, rest = url.partition("://")
    shown = f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"
    headers = {"Content-Type": "application/json"}
    response = session.send("POST", url, deadline, headers, body=data, shown=shown)
    # Its body may never end, and says nothing that we want to know.
    response.close()
    if 200 <= response.status < 300:
        return
    message = f"{shown} answered {response.status}."
    if may_pass(response.status):
        wait = retry_after(response.headers.get("Retry-After"))
        raise PassingError(Reason.SERVER_ERROR, message, wait)
    raise FetchError(Reason.HTTP_ERROR, message)
