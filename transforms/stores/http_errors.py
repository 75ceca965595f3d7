"""The failures of requests in our own words."""

from __future__ import annotations

import http.client
import ssl

from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    InvalidHeader,
    LocationParseError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from image_features.system import descriptors
from image_features.system.deadlines import Deadline
from image_features.system.timed_sockets import UnknownHostError
from image_features.transforms.stores.http_guard import BlockedHostError
from image_features.transforms.stores.retries import FetchError, PassingError
from image_features.transforms.values import Reason


def too_late(shown: str, deadline: Deadline) -> FetchError:
    """Returns the failure of a fetch that is past its deadline, after which nothing is tried."""
    return FetchError(Reason.TIMEOUT, f"{shown} took longer than {deadline.seconds:g} s in all.")


def broken_off(shown: str, why: str) -> PassingError:
    """Returns the failure of a connection or a body that ended early."""
    return PassingError(Reason.CONNECTION_FAILED, f"{shown} broke off: {why}.")


def translated(error: Exception, shown: str, deadline: Deadline) -> FetchError:
    """Returns any failure of urllib3, http.client or a socket as one of ours."""
    if isinstance(error, FetchError):
        return error
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, BlockedHostError):
            return FetchError(
                Reason.BLOCKED_HOST,
                f"{shown} is refused: {cause}; pass --allow_private_hosts if you trust "
                "the manifest.",
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, shown)
    if deadline.left() <= 0:
        return too_late(shown, deadline)
    if any(map(descriptors.has_none, causes)):
        return PassingError(
            Reason.CONNECTION_FAILED,
            f"{shown} cannot be connected to: too many files are open on this machine; raise its "
            "limit (ulimit -n), or lower --fetch_threads.",
        )
    if any(isinstance(cause, UnknownHostError) for cause in causes):
        return PassingError(Reason.CONNECTION_FAILED, f"{shown} has an unknown host.")
    if isinstance(error, NewConnectionError):  # To urllib3 this is a kind of timeout.
        why = getattr(causes[-1], "strerror", None) or "nobody answers"
        return PassingError(Reason.CONNECTION_FAILED, f"{shown} cannot be connected to: {why}.")
    if isinstance(error, SSLError | ssl.SSLError):
        why = getattr(causes[-1], "reason", None) or "the handshake failed"
        return PassingError(Reason.CONNECTION_FAILED, f"{shown} speaks no TLS with us: {why}.")
    if isinstance(error, Urllib3TimeoutError | TimeoutError):
        return PassingError(Reason.TIMEOUT, f"{shown} did not answer in time.")
    if isinstance(error, LocationParseError | UnicodeError):
        return FetchError(Reason.CONNECTION_FAILED, f"{shown} is not a valid URL.")
    if isinstance(error, InvalidHeader):
        return FetchError(Reason.HTTP_ERROR, f"{shown} answered with more than one Content-Length.")
    if isinstance(error, HTTPError | OSError):
        return broken_off(shown, _explained(causes[-1]))
    if isinstance(error, ValueError):
        return FetchError(Reason.CONNECTION_FAILED, f"{shown} is not a valid URL.")
    return broken_off(shown, type(error).__name__)


def _untrusted(error: ssl.SSLCertVerificationError, shown: str) -> FetchError:
    why = error.verify_message or "it is not trusted"
    return FetchError(
        Reason.CONNECTION_FAILED,
        f"{shown} has no valid certificate: {why}; if it is right, name a file of the authorities "
        "that you trust in the variable SSL_CERT_FILE.",
    )


def _explained(error: BaseException) -> str:
    """Says why an answer ended early; other texts of errors may hold what is secret."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(error, http.client.IncompleteRead | IncompleteRead):
        return "the end of its body is missing"
    if isinstance(error, http.client.LineTooLong):
        return "its head has no end"
    if isinstance(error, http.client.BadStatusLine):
        return "what answers speaks no HTTP"
    if str(error).startswith("got more than"):
        return "it has too many header fields"
    return getattr(error, "strerror", None) or type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """Returns an error, and what led to it, the last one being the first to have happened."""
    found: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in found:
        found.append(seen)
        inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        seen = seen.__cause__ or inner
    return found
