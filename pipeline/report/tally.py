"""The figures of a run's rows, counted block by block."""

from __future__ import annotations

import math
from collections import Counter
from typing import cast

import numpy as np

from image_features.pipeline.dataset.records import Block, Floats
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.report.contents import Health, ImageShapes, VectorHealth


class Tally:
    """Counts over all rows of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows = self._not_finite = self._zeros = 0
        width = run.num_features
        self._low = np.full(width, np.inf, np.float32)
        self._high = np.full(width, -np.inf, np.float32)
        self._formats: Counter[str] = Counter()
        self._sides: Counter[int] = Counter()
        self._ratios: Counter[int] = Counter()

    def add(self, block: Block) -> None:
        """Counts the rows of a block."""
        low, high = block.features.min(axis=1), block.features.max(axis=1)
        finite = np.isfinite(low) & np.isfinite(high)
        self._rows += len(finite)
        self._not_finite += int((~finite).sum())
        self._zeros += int(((low == 0) & (high == 0)).sum())
        sound = block.features if finite.all() else block.features[finite]
        self._low = np.minimum(self._low, sound.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, sound.max(axis=0, initial=-np.inf))
        self._formats.update(record.text("image/format") for record in block.records)
        for record in block.records:
            width, height = record.number("image/width"), record.number("image/height")
            if width > 0 and height > 0:
                self._sides[max(width, height).bit_length()] += 1
                self._ratios[round(10 * math.log2(width / height))] += 1

    def health(self, sampled: Floats) -> Health:
        """Returns the figures of all blocks.

        Args:
          sampled: Some of the run's vectors, whose lengths are shown; float32 [sampled,
            num_features].
        """
        lengths = np.linalg.norm(sampled, axis=1)
        return Health(
            run_id=self._run.run_id,
            vectors=VectorHealth(
                rows=self._rows,
                not_finite=self._not_finite,
                zeros=self._zeros,
                constant=int((self._low == self._high).sum()),
                num_features=len(self._low),
                norms=cast(Floats, lengths[np.isfinite(lengths)]),
            ),
            images=ImageShapes(
                formats=dict(self._formats),
                sides=dict(sorted(self._sides.items())),
                ratios=dict(sorted(self._ratios.items())),
            ),
        )
