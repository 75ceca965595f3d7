"""The page that shows the largest groups of duplicates, with pictures; it needs nothing else."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dedup.duplicates import Duplicates
from image_features.pipeline.dedup.result import Counts
from image_features.pipeline.report.markup import make_environment, policy_for
from image_features.pipeline.report.thumbnails import Pictured, read_thumbnails
from image_features.transforms.shards.record_format import HEIGHT, KEY, URI, WIDTH, Record

_PER_GROUP = 12
_SECONDS = 60.0  # After so many no other picture is begun.
_SHOWN_URI = 400


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a group, as the page shows it.

    Attributes:
      uri: The location of the image; a very long one lacks its middle.
      similarity: The cosine with the representative.
      keep: Whether it is the representative.
      shape: The size of the image, in pixels.
      picture: The picture as a data URI; None where it cannot be had.
    """

    uri: str
    similarity: float
    keep: bool
    shape: str
    picture: str | None


@dataclasses.dataclass(frozen=True)
class Group:
    """A group that the page shows.

    Attributes:
      size: The number of its members.
      members: The first of them, the representative before all others.
    """

    size: int
    members: tuple[Member, ...]


class Page:
    """The page, which is made when the records of its images have gone by.

    Args:
      found: The duplicates.
      samples: The number of groups to show.
    """

    def __init__(self, found: Duplicates, samples: int) -> None:
        # Groups are numbered by their sizes, and the rows of each are together.
        ends = np.searchsorted(found.table["group"].to_numpy(), np.arange(1, samples + 1))
        starts = [0, *ends.tolist()]
        self._groups = [
            (end - start, found.table.slice(start, min(end - start, _PER_GROUP)).to_pylist())
            for start, end in itertools.pairwise(starts)
            if end > start
        ]
        keys = (row["key"] for _, rows in self._groups for row in rows)
        self._seen: dict[str, tuple[Pictured, str]] = dict.fromkeys(keys, (Pictured(""), ""))
        self._pictures: dict[Pictured, str | None] = {}

    def see(self, run: Run, record: Record) -> None:
        """Takes what a record tells of an image that is shown; passes all others over."""
        if self._seen and (key := record.text(KEY)) in self._seen:
            size = f"{record.number(WIDTH)}x{record.number(HEIGHT)}"
            pictured = Pictured(record.text(URI), run.provenance.archives)
            self._seen[key] = (pictured, size)

    def read_pictures(self, *, private_hosts: bool) -> None:
        """Reads the images again, from where they were, for a small picture of each."""
        wanted = [pictured for pictured, _ in self._seen.values()]
        pictures = read_thumbnails(wanted, _SECONDS, private_hosts=private_hosts)
        self._pictures = dict(zip(wanted, pictures, strict=True))

    def _member(self, row: Mapping[str, Any]) -> Member:
        pictured, shape = self._seen[row["key"]]
        picture = self._pictures.get(pictured)
        return Member(_short(row["uri"]), row["similarity"], row["keep"], shape, picture)

    def render(self, path: str, counts: Counts, threshold: float, named: Sequence[str]) -> bytes:
        """Makes the page.

        Args:
          path: The location of the dataset.
          counts: The numbers of rows.
          threshold: The cosine from which images are near duplicates.
          named: The handles or names of the model, for the heading.
        """
        template = make_environment("image_features.pipeline.dedup").get_template("duplicates.html")
        text = template.render(
            path=path,
            counts=counts,
            threshold=threshold,
            named=" ".join(filter(None, named)),
            groups=[Group(size, tuple(map(self._member, rows))) for size, rows in self._groups],
            policy=policy_for(()),
        )
        return text.encode("utf-8", "replace")


def _short(uri: str) -> str:
    half = _SHOWN_URI // 2
    return uri if len(uri) <= _SHOWN_URI else f"{uri[:half]}…{uri[-half:]}"
