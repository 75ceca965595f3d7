"""References as they are shuffled: plain tuples in the order that sorts, many in a pack."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from image_features.transforms.runtime.packing import PlainRow, unpack
from image_features.transforms.values import ImageRef

KEY, URI, VERSION = 0, 3, 5
_MENTION = operator.itemgetter(0, 1, 2, 3)


def row_of(ref: ImageRef) -> PlainRow:
    """A reference as a row; rows sort by key, then as the manifests mention them."""
    return ref.key, ref.source, ref.row, ref.uri, ref.columns, ref.version


def ref_of(row: PlainRow, shard: int = -1) -> ImageRef:
    """The reference that a row is of."""
    key, source, number, uri, columns, version = row
    return ImageRef(uri, key, source, number, columns, shard, version)


def sorted_once(packs: Iterable[bytes]) -> tuple[list[PlainRow], int]:
    """The rows of packs in order, of each image the first mention only.

    Whatever order the runner delivers, the result is the same.

    Returns:
      The rows, and how many more mentions there were.
    """
    rows = [row for pack in packs for row in unpack(pack)]
    rows.sort(key=operator.itemgetter(KEY))
    once: list[PlainRow] = []
    for row in rows:
        if once and row[KEY] == once[-1][KEY]:
            once[-1] = min(once[-1], row, key=_MENTION)
        else:
            once.append(row)
    return once, len(rows) - len(once)
