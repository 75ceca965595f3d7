"""Which version of an image a location holds, in a short text that changes when the image does.

The text says where it is from, so that versions of different origin are never taken for equal:
`file:SIZE:MTIME` (nanoseconds), `etag:VALUE`, `modified:DATE:SIZE`, `generation:NUMBER`,
`listed:SIZE:TIME` (what a listing says) and `column:VALUE` (what the manifest says). An empty text
is an unknown version: it equals nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

_LONGEST = 256


def of_file(status: os.stat_result) -> str:
    """The version of a local file."""
    return f"file:{status.st_size}:{status.st_mtime_ns}"


def of_answer(headers: Mapping[str, str]) -> str:
    """The version that an http(s) answer's headers tell, by RFC 9110, section 8.8."""
    etag = headers.get("ETag", "").strip()
    if etag:
        return _bounded(f"etag:{etag}")
    date = headers.get("Last-Modified", "").strip()
    return _bounded(f"modified:{date}:{headers.get('Content-Length', '')}") if date else ""


def of_object(generation: str | int) -> str:
    """The version of a Cloud Storage object."""
    return f"generation:{generation}" if generation else ""


def of_listing(size: int, updated: float | None) -> str:
    """The version of a file in a listing, which tells its size and time of change in seconds."""
    return f"listed:{size}:{updated!r}" if updated else ""


def of_column(value: object) -> str:
    """The version that a manifest's own column gives."""
    text = "" if value is None or value != value else str(value).strip()
    return _bounded(f"column:{text}") if text else ""


def conditions(version: str) -> dict[str, str]:
    """Headers of a request that need not be answered in full if the version is still there.

    Dates are no condition: a server takes any that is not later for the same (RFC 9110, section
    13.1.3), as of an older file that was put back.
    """
    kind, _, value = version.partition(":")
    return {"If-None-Match": value} if kind == "etag" else {}


def still_there(version: str, headers: Mapping[str, str]) -> bool:
    """Whether an answer that nothing was modified is one to `conditions`, by its own ETag."""
    etag = headers.get("ETag", "").strip() or version.removeprefix("etag:")
    return bool(conditions(version)) and _weakly(f"etag:{etag}") == _weakly(version)


def _weakly(version: str) -> str:
    return version.replace("etag:W/", "etag:", 1)


def _bounded(text: str) -> str:
    """A server may say anything; what is longer than versions are is told by its hash."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= _LONGEST:
        return text
    return f"{text.partition(':')[0]}-sha256:{hashlib.sha256(text.encode()).hexdigest()}"
