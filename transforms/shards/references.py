"""References as they are shuffled: plain tuples whose order is that of the rows, many in a pack."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from image_features.transforms.runtime.packing import PlainRow, unpack
from image_features.transforms.values import ImageRef

KEY, URI, VERSION = 0, 3, 5
_MENTION = operator.itemgetter(0, 1, 2, 3)


def row_of(ref: ImageRef) -> PlainRow:
    """Returns a reference as a row; rows sort by key, then by where the manifests have them."""
    return ref.key, ref.source, ref.row, ref.uri, ref.columns, ref.version


def ref_of(row: PlainRow, shard: int = -1) -> ImageRef:
    """Returns the reference that a row stands for."""
    key, source, number, uri, columns, version = row
    return ImageRef(uri, key, source, number, columns, shard, version)


def sorted_once(packs: Iterable[bytes]) -> tuple[list[PlainRow], int]:
    """Sorts the rows of packs by key, and keeps the first mention of each image.

    The result is the same in whatever order the runner delivers the packs.

    Returns:
      The rows, and the number of further mentions.
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
