"""Words for what is wrong with a location."""

from __future__ import annotations

import os

from apache_beam.io.filesystem import BeamIOError

from image_features.transforms.stores.files import cause_of, reason_of
from image_features.transforms.stores.gcs_credentials import is_refused
from image_features.transforms.stores.uris import redact_text
from image_features.transforms.values import Reason


def real(location: str) -> str:
    """Returns a location with its symbolic links followed, to compare it with others."""
    return location if "://" in location else os.path.realpath(location)


def explain(error: Exception) -> str:
    """Says what is wrong with a location, without a full stop."""
    shown = ""
    if isinstance(error, BeamIOError) and error.exception_details:
        shown = str(next(iter(error.exception_details)))
    if str(error).startswith("Unable to get filesystem"):  # Beam's own sentence guesses.
        return "it is neither a local path nor in a store that is known here, such as gs://"
    reason = reason_of(error)
    if shown and reason is Reason.NOT_FOUND:
        return f"{shown} does not exist, or its bucket does not"
    if isinstance(error, OSError) and error.strerror:
        named = error.filename if isinstance(error.filename, str) else ""
        return f"{named}: {error.strerror}" if named else error.strerror
    if reason is Reason.ACCESS_DENIED:
        to = f" to {shown}" if shown else ""
        return f"access{to} is denied; check the credentials and what they may do"
    cause = cause_of(error)
    if isinstance(cause, Exception) and is_refused(cause):
        return (
            f"the Google credentials are refused ({redact_text(str(cause.args[0]))}); sign in "
            "again, or name others"
        )
    return redact_text(str(cause)).strip().rstrip(".")
