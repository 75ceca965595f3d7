"""The rows of .tar files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.spans import Spans
from image_features.transforms.archives.tar import list_tar
from image_features.transforms.manifests.rows import IMAGE_SUFFIXES, ManifestRow
from image_features.transforms.stores import versions
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile


def tar_rows(file: RangedFile, options: ArchiveOptions) -> Iterator[ManifestRow]:
    """Yields the images of a .tar file."""
    spans = Spans()
    number = 0
    for member in list_tar(file):
        if os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
            number += 1
            place = spans.place(member.offset_data, member.size)
            yield ManifestRow(
                number,
                join_member(file.uri, member.name),
                version=versions.of_member(file.version, f"{place.begin}:{place.size}"),
                place=place,
            )
