"""Which locations can be read from here, by their schemes."""

from __future__ import annotations

from image_features.transforms.stores import beam, libraries
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

_SCHEMES = frozenset({"http", "https", "gs", *beam.SCHEMES})


def readable_scheme(uri: str) -> str:
    """Returns the scheme of a location in lower case; an empty text for a local path.

    Raises:
      FetchError: nothing here reads from such a location.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return ""
    if problem := libraries.missing(uri):
        raise FetchError(Reason.MISSING_LIBRARY, f"{problem}.")
    if scheme.lower() == "file":
        raise FetchError(Reason.UNSUPPORTED_SCHEME, f"{uri} names no file of this machine.")
    if scheme.lower() not in _SCHEMES:
        raise FetchError(
            Reason.UNSUPPORTED_SCHEME, f"{redact_uri(uri)} has the unknown scheme {scheme}://."
        )
    return scheme.lower()
