"""Words for what is wrong with a location."""

from __future__ import annotations

from apache_beam.io.filesystem import BeamIOError

from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.uris import redact_text
from image_features.transforms.values import Reason


def explain(error: Exception) -> str:
    """Says what is wrong with a location, without a full stop."""
    shown = ""
    if isinstance(error, BeamIOError) and error.exception_details:
        shown = str(next(iter(error.exception_details)))
    elif isinstance(error, OSError) and error.filename:
        shown = str(error.filename)
    reason = reason_of(error)
    if shown and reason is Reason.NOT_FOUND:
        return f"{shown} does not exist, or its bucket does not"
    if reason is Reason.ACCESS_DENIED:
        to = f" to {shown}" if shown else ""
        return f"access{to} is denied; check the credentials and what they may do"
    return redact_text(str(error)).strip().rstrip(".")
