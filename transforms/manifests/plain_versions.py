"""The versions that a column of a manifest tells, many at once."""

from __future__ import annotations

from typing import Any

from image_features.transforms.manifests.arrow_values import values_of
from image_features.transforms.manifests.plain_text import PlainTexts
from image_features.transforms.stores import versions

_OF_COLUMN = versions.of_column("x").removesuffix("x")
# What is longer is told by its hash.
_LONGEST = versions.LONGEST - len(_OF_COLUMN)


def versions_of(values: Any) -> Any:
    """Returns pyarrow strings [rows], what `versions.of_column` makes of each value.

    Args:
      values: A list, or an array of Arrow.
    """
    import pyarrow as pa

    found = None if isinstance(values, list) else _plain_versions(values)
    if found is None:
        listed = values if isinstance(values, list) else values_of(values)
        found = pa.array(list(map(versions.of_column, listed)), pa.string())
    return found


def _plain_versions(values: Any) -> Any:
    """Returns the versions; None if one may be odd."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_integer(values.type):
        values = values.cast(pa.string())
    texts = None
    if types.is_string(values.type):
        texts = PlainTexts.of(values.fill_null("") if values.null_count else values)
    if texts is None or texts.lengths.max() > _LONGEST:
        return None
    if not texts.are_stripped() or (texts.codes > 0x7F).any():
        return None
    found = pc.binary_join_element_wise(_OF_COLUMN, texts.array, "")
    empty = texts.lengths == 0
    return pc.if_else(pa.array(empty), "", found) if empty.any() else found
