"""What is sent for a URL as people write it, and where a redirect leads."""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import is_http, redact_uri
from image_features.transforms.values import Reason

_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_BEYOND_ASCII = re.compile("[\x80-\xff]")


def escaped(url: str) -> str:
    """Escapes each percent sign that escapes nothing.

    urllib3 escapes whatever else may not be sent. It would take one such sign as a proof that
    nothing is escaped yet, and escape everything again.
    """
    return _BARE_PERCENT.sub("%25", url)


def redirected(url: str, location: str) -> str:
    """Returns the URL that an answer redirects to.

    Args:
      url: The URL that was asked for.
      location: The Location of the answer.

    Raises:
      FetchError: it is not one of http(s).
    """
    # Header fields are read as Latin-1, and mostly are UTF-8.
    raw = location.encode("latin-1", "replace")
    try:
        target = raw.decode()
    except UnicodeDecodeError:
        target = _BEYOND_ASCII.sub(lambda match: f"%{ord(match[0]):02X}", location)
    try:
        following = urljoin(url, target)
        urlsplit(following)
    except ValueError as error:
        raise FetchError(
            Reason.HTTP_ERROR, f"{redact_uri(url)} redirects to what is no valid URL."
        ) from error
    if not is_http(following):
        raise FetchError(
            Reason.UNSUPPORTED_SCHEME,
            f"{redact_uri(url)} redirects to {redact_uri(following)}, which is not http(s).",
        )
    return following


def authorization(url: SplitResult) -> dict[str, str]:
    """Returns the header of basic authentication for a URL with a user, or no header."""
    if url.username is None:
        return {}
    user = unquote_to_bytes(url.username) + b":" + unquote_to_bytes(url.password or "")
    return {"Authorization": f"Basic {base64.b64encode(user).decode()}"}
