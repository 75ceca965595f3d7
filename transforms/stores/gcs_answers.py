"""What the answers of Cloud Storage mean."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import google_crc32c

from image_features.transforms.stores.retries import FetchError, PassingError, retry_after
from image_features.transforms.values import Reason

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_EXPLANATION = 2**16


def check_status(uri: str, response: Any, *good: int) -> None:
    """Makes sure that an answer has a status that is good, beside 200.

    Raises:
      PassingError: the next answer may have one.
      FetchError: the server refuses the request.
    """
    status = response.status
    if status == 200 or status in good:
        return
    message = f"{uri} answered {status}{_explanation(response)}."
    if status in _RETRIED:
        wait = retry_after(response.headers.get("Retry-After"))
        raise PassingError(Reason.SERVER_ERROR, message, wait)
    if status == 404:
        raise FetchError(Reason.NOT_FOUND, message)
    if status in (401, 403):
        raise FetchError(Reason.ACCESS_DENIED, message)
    raise FetchError(Reason.READ_FAILED, message)


def _explanation(response: Any) -> str:
    """Returns what a server says about a failure, as the end of a sentence."""
    try:
        text = response.read(_EXPLANATION).decode()
        with contextlib.suppress(ValueError):
            text = str(json.loads(text)["error"]["message"])
    except Exception:  # It would only have been a help.
        return ""
    line = " ".join(text.split()).rstrip(".")
    return f": {line[:300]}" if line.isprintable() and line[:1] not in ("", "<", "{") else ""


def is_intact(body: bytes | bytearray, headers: Any) -> bool:
    """Tells whether an object has its checksum, if the server tells one of what it sends."""
    stored = headers.get("X-Goog-Stored-Content-Encoding", "identity")
    if stored != "identity" or "Content-Encoding" in headers:
        return True  # The checksum is that of the compressed bytes.
    told = headers.get("X-Goog-Hash", "").split(",")
    sums = dict(pair.strip().split("=", 1) for pair in told if "=" in pair)
    if "crc32c" not in sums:
        return True
    return google_crc32c.value(bytes(body)).to_bytes(4, "big") == base64.b64decode(sums["crc32c"])
