"""References as they are shuffled: plain tuples whose order is that of the rows, many in a pack."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from image_features.transforms.manifests.sources import Source
from image_features.transforms.runtime.packing import PlainRow, unpack
from image_features.transforms.stores.members import split_member
from image_features.transforms.values import ImageRef, Place

KEY, SOURCE, URI, VERSION, PLACE = 0, 1, 3, 5, 6
_MENTION = operator.itemgetter(1, 2, 3)


def row_of(ref: ImageRef) -> PlainRow:
    """Returns a reference as a row."""
    place = None if ref.place is None else tuple(ref.place)
    return ref.key, ref.source, ref.row, ref.uri, ref.columns, ref.version, place


def ref_of(row: PlainRow, shard: int = -1) -> ImageRef:
    """Returns the reference that a row stands for."""
    key, source, number, uri, columns, version, place = row
    lies = None if place is None else Place(*place)
    return ImageRef(uri, key, source, number, columns, shard, version, lies)


def span_of(row: PlainRow) -> tuple[str, int] | None:
    """Returns the archive of a row and the span to read it with, or None for a file."""
    packed = split_member(row[URI])
    if packed is None:
        return None
    return packed[0], row[PLACE][0] if row[PLACE] else -1


def lies_at(row: PlainRow) -> tuple[Any, ...]:
    """Returns what sorts rows of a span in the order of their archive."""
    return row[PLACE] or (), row[URI]


def sorted_once(packs: Iterable[bytes], places: Mapping[str, int]) -> tuple[list[PlainRow], int]:
    """Sorts the rows of packs by key, and keeps the first mention of each image.

    The result is the same in whatever order the runner delivers the packs.

    Args:
      packs: The packed rows.
      places: The places of the sources in the input; those that are not there come last.

    Returns:
      The rows, and the number of further mentions.
    """

    def mention(row: PlainRow) -> tuple[Any, ...]:
        return places.get(row[SOURCE], len(places)), *_MENTION(row)

    rows = [row for pack in packs for row in unpack(pack)]
    rows.sort(key=operator.itemgetter(KEY))
    once: list[PlainRow] = []
    for row in rows:
        if once and row[KEY] == once[-1][KEY]:
            first, other = sorted((once[-1], row), key=mention)
            # A manifest need not tell where in its archive an image lies, which its listing does.
            once[-1] = (*first[:PLACE], first[PLACE] or other[PLACE])
        else:
            once.append(row)
    return once, len(rows) - len(once)


def places_of(sources: Iterable[Source]) -> dict[str, int]:
    """Returns the places of sources in the input, by their locations."""
    return {source.location: place for place, source in enumerate(sources)}
