"""A fair and repeatable sample of rows, in bounded memory.

Rows are sampled by their keys, which are hashes: those with the smallest are a fair sample, and
the same images in every run.
"""

from __future__ import annotations

import numpy as np

from image_features.pipeline.dataset.records import Block, Floats
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.report.contents import Agreement, SampledImage, SampledImages
from image_features.pipeline.report.feature_map import draw_map
from image_features.pipeline.search.nearest import near_duplicates, neighbours, unit
from image_features.transforms.shards.record_format import Record
from image_features.transforms.values import Scalar

# The cosine above which two images are called near duplicates.
NEAR_DUPLICATE = 0.999
_STRIPS = 10
_STRIP_LENGTH = 7
_GROUPS = 12
_COLUMNS = 8
_TEXT = 300


class Sample:
    """The rows with the smallest keys; of rows with one key it is the first.

    Attributes:
      keys: The keys of the rows in ascending order, bytes [sampled].
      features: Their vectors, float32 [sampled, num_features].
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.keys = np.empty(0, "S16")
        self.features: Floats = np.empty((0, 0), np.float32)
        self._records: list[tuple[Run, Record]] = []

    def add(self, block: Block) -> None:
        """Takes those rows of a block that belong in the sample."""
        wanted = ~np.isin(block.keys, self.keys)
        if len(self.keys) == self._size:
            wanted &= block.keys < self.keys[-1]
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        keys = np.concatenate([self.keys, block.keys[rows]])
        order = np.argsort(keys, kind="stable")[: self._size]
        features = [self.features, block.features[rows]] if len(self.keys) else [block.features]
        self.features = np.concatenate(features)[order]
        records = [*self._records, *((block.run, block.records[int(row)]) for row in rows)]
        self._records = [records[int(i)] for i in order]
        self.keys = keys[order]

    def images(self) -> SampledImages:
        """Looks at how the vectors lie to each other."""
        vectors = unit(self.features)
        groups = near_duplicates(vectors, NEAR_DUPLICATE)
        return SampledImages(
            rows=tuple(_sampled_image(run, record) for run, record in self._records),
            map=draw_map(vectors),
            strips=tuple(
                (row, neighbours(vectors, row, _STRIP_LENGTH))
                for row in range(min(_STRIPS, len(vectors)))
            ),
            groups=tuple(groups[:_GROUPS]),
            grouped=sum(map(len, groups)),
        )

    def agreement(self, other: Sample) -> Agreement | None:
        """Compares the vectors of the images that both samples have; None if there is none."""
        _, ours, theirs = np.intersect1d(self.keys, other.keys, return_indices=True)
        if not len(ours):
            return None
        cosines = (unit(self.features[ours]) * unit(other.features[theirs])).sum(axis=1)
        return Agreement(len(ours), float(cosines.min()), float(cosines.mean()))


def _sampled_image(run: Run, record: Record) -> SampledImage:
    columns = tuple(
        (column.name[:_TEXT], ", ".join(map(_shown, record.column_items(column)))[:_TEXT])
        for column in run.columns[:_COLUMNS]
    )
    return SampledImage(
        key=record.text("image/key"),
        uri=record.text("image/uri"),
        format=record.text("image/format"),
        width=record.number("image/width"),
        height=record.number("image/height"),
        run_id=run.run_id,
        columns=columns,
    )


def _shown(item: Scalar) -> str:
    if isinstance(item, bytes):
        return f"{len(item)} bytes"
    return f"{item:.6g}" if isinstance(item, float) else str(item)
