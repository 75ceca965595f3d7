"""The batches of a training run; which images and views a step sees depends on the step alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.config import DataConfig
from training.targets import target_path, teacher_name
from training.views import LabelledImages, crop_boxes

_SAMPLE = 8192  # Mean and deviation come from about this many targets.


class Batches:
    """The images to train on, with the teacher's features, and the images held out.

    Attributes:
      steps_per_epoch: The number of batches in a pass over the images.
      mean: The mean of the teacher's features, float32 [1280].
      deviation: Their standard deviation, float32 [1280], kept off 0.
    """

    def __init__(self, images: LabelledImages, directory: str, config: DataConfig) -> None:
        """Opens the teacher's features, which `targets.compute_targets` has put in `directory`."""
        self._config = config
        self._images = images
        count = len(images.pixels)
        # The last images of each class, as the files are sorted.
        after = np.append(images.labels[1:], -1)
        held = np.zeros(count, bool)
        for offset in range(config.held_out):
            held[: count - offset] |= (images.labels != after)[offset:]
        self._train, self._held = np.flatnonzero(~held), np.flatnonzero(held)
        self._boxes = [crop_boxes(v, count, seed=config.seed) for v in range(config.views)]
        name = teacher_name(config)
        self._targets = [
            np.load(target_path(directory, name, v), mmap_mode="r") for v in range(config.views)
        ]
        self.steps_per_epoch = len(self._train) // config.batch
        self._sample = self._train[:: max(1, len(self._train) // _SAMPLE)]
        sample = np.asarray(self._targets[0][self._sample])
        self.mean = sample.astype(np.float32).mean(axis=0)
        deviation = sample.astype(np.float32).std(axis=0)
        self.deviation = np.maximum(deviation, 0.1 * deviation.mean())

    def batch(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Returns pixels, boxes, whether to flip, labels and targets."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self._config.seed, epoch]).permutation(self._train)
        rows = order[place * self._config.batch :][: self._config.batch]
        # Every image runs through its views, each from another first one.
        views = (rows + epoch) % self._config.views
        pairs = list(zip(views, rows, strict=True))
        flip = np.random.default_rng([self._config.seed, epoch, place]).random(len(rows)) < 0.5
        return (
            self._images.pixels[rows],
            np.stack([self._boxes[v][r] for v, r in pairs]),
            flip,
            self._images.labels[rows],
            np.stack([self._targets[v][r] for v, r in pairs]).astype(np.float32),
        )

    def sample(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Returns the pixels of some images to train on, and their targets as whole images."""
        return self._images.pixels[self._sample], self._targets[0][self._sample].astype(np.float32)

    def held_out(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Returns pixels and labels of the images that are not trained on."""
        return self._images.pixels[self._held], self._images.labels[self._held]
