"""FindUnread: whether rows that could not be read may name any image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from image_features.transforms.stores.members import archive_format, split_member
from image_features.transforms.values import ImageError, Reason

_LOG = logging.getLogger(__name__)


class FindUnread(beam.PTransform):
    """Tells of a PCollection[ImageError] in one bool whether no image may count as removed.

    A line that cannot be taken apart keeps all images from being hidden. An archive that cannot be
    read to its end keeps them even from being counted: thousands may lie behind the damage.

    Args:
      removals: Whether images that the input does not name count as removed.
      hides: Whether these are hidden from readers.
    """

    def __init__(self, *, removals: bool, hides: bool) -> None:
        super().__init__()
        self._removals = removals
        self._hides = hides

    def expand(self, errors: Any) -> Any:
        return (
            errors
            | "TakeUnread" >> beam.Filter(lambda error: error.unread)
            | "TellArchives" >> beam.Map(_is_archive)
            | "CountEach" >> beam.combiners.Count.PerElement()
            | "Gather" >> beam.combiners.ToList()
            | "Tell" >> beam.Map(_told, self._removals, self._hides)
        )


def _is_archive(error: ImageError) -> bool:
    """Whether a row that could not be read is an archive, or the rest of one."""
    return archive_format(error.ref.uri) is not None and split_member(error.ref.uri) is None


def _told(unread: Sequence[tuple[bool, int]], removals: bool, hides: bool) -> bool:
    """Returns whether rows that could not be read keep others, and says so.

    Args:
      unread: The number of such rows, for archives and for others.
      removals: Whether images that the input does not name count as removed.
      hides: Whether these are hidden from readers.
    """
    counts = dict(unread)
    archives, others = counts.get(True, 0), counts.get(False, 0)
    if archives and removals:
        _LOG.warning(
            "The input has archives that cannot be read to their ends (%d): since nobody knows "
            "which images they hold, none counts as removed in this run.",
            archives,
        )
    elif others and removals and hides:
        _LOG.warning(
            "The input has lines that cannot be taken apart (%d, %s): since they may name any "
            "image, none counts as removed in this run.",
            others,
            Reason.BAD_MANIFEST_ROW,
        )
    return removals and (archives > 0 or (others > 0 and hides))
