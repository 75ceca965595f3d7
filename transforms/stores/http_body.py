"""The body of an answer as it was before it was encoded for the way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from image_features.system.deadlines import Deadline
from image_features.transforms.stores.http_errors import broken_off, too_late, translated
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason

BLOCK = 64 * 1024
_MOST_CODINGS = 5
# They need packages that are not here. Other names that servers send, such as aws-chunked or
# utf-8, stand for nothing that was done to the body.
_UNKNOWN = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_GZIP = frozenset({"gzip", "x-gzip"})


def blocks(response: Any, shown: str, deadline: Deadline) -> Iterator[bytes]:
    """Yields the body of an answer, at most `BLOCK` bytes at a time.

    We ask for no encoding, but some servers send what they have.

    Args:
      response: The answer.
      shown: The location as it may be told.
      deadline: The end of the body.

    Raises:
      PassingError: the body breaks off.
      FetchError: the body is not encoded as the answer says, or the deadline has passed.
    """
    transfer = response.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if transfer not in ("chunked", "identity"):
        raise FetchError(
            Reason.HTTP_ERROR, f"{shown} was sent with the unknown Transfer-Encoding {transfer}."
        )
    named = response.headers.get("Content-Encoding", "").lower().split(",")
    codings = [name.strip() for name in named if name.strip() not in ("", "identity")]
    if len(codings) > _MOST_CODINGS:
        raise FetchError(Reason.HTTP_ERROR, f"{shown} was encoded {len(codings)} times over.")
    body = _received(response, shown, deadline)
    for coding in reversed(codings):
        if coding in _UNKNOWN:
            raise FetchError(
                Reason.HTTP_ERROR,
                f"{shown} was sent with the Content-Encoding {coding}, which was not asked for.",
            )
        if coding in _GZIP or coding == "deflate":
            body = _inflated(body, coding, shown, deadline)
    return body


def _received(response: Any, shown: str, deadline: Deadline) -> Iterator[bytes]:
    try:
        while response.length_remaining != 0 and (
            block := response.read1(BLOCK, decode_content=False)
        ):
            yield block
    except Exception as error:  # urllib3, http.client and sockets have errors of their own.
        raise translated(error, shown, deadline) from error


def _inflated(
    body: Iterator[bytes], coding: str, shown: str, deadline: Deadline
) -> Iterator[bytes]:
    """Yields what a body was before gzip or deflate, however large it becomes, bit by bit."""
    inflater: Any = None
    begun = False
    data = b""
    try:
        for block in body:
            data += block
            # The first two bytes tell what it is; a member of gzip may follow another.
            while data and (inflater is not None or len(data) >= 2):
                if deadline.left() <= 0:
                    raise too_late(shown, deadline)
                if inflater is None:
                    if begun and not data.startswith(b"\x1f\x8b"):
                        data = b""  # What follows is padding.
                        break
                    inflater, begun = zlib.decompressobj(_window(coding, data)), True
                while True:
                    out = inflater.decompress(data, BLOCK)
                    data = inflater.unconsumed_tail
                    if out:
                        yield out
                    if inflater.eof or (not data and len(out) < BLOCK):
                        break
                    if deadline.left() <= 0:
                        raise too_late(shown, deadline)
                if inflater.eof:
                    data, inflater = inflater.unused_data, None
    except zlib.error as error:
        raise FetchError(
            Reason.READ_FAILED, f"{shown} was said to be {coding}, and is not: {error}."
        ) from error
    if inflater is not None or (data and not begun):
        raise broken_off(shown, f"its {coding} has no end")


def _window(coding: str, data: bytes) -> int:
    """Returns the format that zlib is to expect: "deflate" means one of two to servers."""
    if coding in _GZIP:
        return 16 + zlib.MAX_WBITS
    has_header = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
