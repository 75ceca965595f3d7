"""Columns of URIs that are as they stay, and the keys of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from image_features.transforms.manifests.plain_text import PlainTexts
from image_features.transforms.stores.members import MARK

# Keys of object stores end at 1,024 bytes, and paths at 4,096; servers refuse what is longer.
MAX_URI = 8192
KEY_BYTES = 16
# Such URIs are whole, whatever follows.
WHOLE = ("https://", "http://", "gs://", "s3://", "/")
# What the name of an archive has in it, which says no more than that it may be one.
MAY_BE_ARCHIVE = r"(?i)\.(?:tar|tgz|tbz|txz|tzst|z.p|parquet|tfrec|record)"
# The canonical form of a URI without these is what it is.
NOT_CANONICAL = ("?", "#", "@")


def plain_uris(array: Any) -> list[bytes] | None:
    """Returns URIs that are whole and canonical, and in no archive; None if one may not be.

    Args:
      array: A pyarrow.Array of strings that are UTF-8.
    """
    import pyarrow.compute as pc

    texts = PlainTexts.of(array)
    if texts is None or not 0 < texts.lengths.min() <= texts.lengths.max() <= MAX_URI:
        return None
    first = array[0].as_py()
    beginning = next((start for start in WHOLE if first.startswith(start)), None)
    if beginning is None or not pc.all(pc.starts_with(array, beginning)).as_py():
        return None
    data = texts.codes.tobytes()
    # A single character is found in a hundredth of the time.
    if any(char.encode() in data for char in (*NOT_CANONICAL, "\0")) or (
        MARK[:1].encode() in data and MARK.encode() in data
    ):
        return None
    # Of one long text this is half the work that it is of many.
    if not texts.are_stripped() or (
        pc.match_substring_regex(texts.as_one(), MAY_BE_ARCHIVE)[0].as_py()
    ):
        return None
    return texts.encoded()


def keys_of(encoded: Sequence[bytes]) -> bytes:
    """Returns the first KEY_BYTES bytes of the SHA-256 of each canonical URI."""
    sha256 = hashlib.sha256
    digests = b"".join([sha256(uri).digest() for uri in encoded])
    rows = np.frombuffer(digests, np.uint8).reshape(-1, sha256().digest_size)
    return rows[:, :KEY_BYTES].tobytes()
