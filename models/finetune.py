"""The fine-tuning of a reusable image feature-vector SavedModel on labelled images.

First a linear classifier learns on the frozen features, then all layers learn with it, batch
normalization in training mode: the order that keeps random gradients of a new classifier from
destroying what the features know. The state with the best held-out accuracy is kept.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.scaling import Scaling
from image_features.models.tuner import FinetuneConfig, Finetuner

_log = logging.getLogger(__name__)
_HEAD_EPOCHS = 30  # An epoch costs next to nothing, as the features are in memory.


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneResult:
    """The outcome of a fine-tuning.

    Attributes:
      probe_accuracy: The held-out accuracy of the linear classifier on the frozen features.
      accuracy: The held-out accuracy of the state that was kept.
      epochs: The number of passes done with all layers learning.
      best_epoch: The pass whose state was kept; 0 is the module as it was.
      train_images: The number of images that were learnt from.
      held_out_images: The number of images that were measured on.
    """

    probe_accuracy: float
    accuracy: float
    epochs: int
    best_epoch: int
    train_images: int
    held_out_images: int

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome by the names that finetune.json has."""
        return {
            "probe_accuracy": self.probe_accuracy,
            "accuracy": self.accuracy,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "train_images": self.train_images,
            "held_out_images": self.held_out_images,
        }


class Report(Protocol):
    """A callback for every finished step: name of the phase, steps done, steps in all."""

    def __call__(self, phase: str, done: int, total: int) -> None: ...


def split(
    labels: npt.NDArray[np.int32], part: float, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Splits rows into those to learn from and those to measure on, some of each in every class.

    Args:
      labels: The class of every row, int32 [count].
      part: The part of each class's rows to measure on, between 0 and 1.
      seed: The seed of the choice.

    Returns:
      Two arrays of row numbers, ascending.

    Raises:
      ModelError: A class has one image only.
    """
    stream = np.random.default_rng(seed)
    learn, measure = [], []
    for label in np.unique(labels):
        rows = stream.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise ModelError(
                "Every class needs two images or more, one to learn from and one to measure on; "
                f"class number {label} has {len(rows)}."
            )
        count = min(len(rows) - 1, max(1, round(part * len(rows))))
        measure.append(rows[:count])
        learn.append(rows[count:])
    return np.sort(np.concatenate(learn)), np.sort(np.concatenate(measure))


def finetune(
    tuner: Finetuner,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    work: str,
    config: FinetuneConfig,
    report: Report = lambda phase, done, total: None,
) -> FinetuneResult:
    """Trains until the held-out accuracy no longer rises, from the last checkpoint if there is one.

    Args:
      tuner: The module; it ends in the best state.
      pixels: The images at the module's size, uint8 [count, height, width, 3].
      labels: Their classes, int32 [count], from 0.
      work: The directory for checkpoints and TensorBoard logs.
      config: The settings.
      report: The callback for every step.

    Raises:
      ModelError: A class has one image only, or the checkpoint is another run's.
    """
    import tensorflow as tf

    learn, measure = split(labels, config.held_out, config.seed)
    progress = _Progress(tuner, os.path.join(work, "checkpoints"), _identity(labels, tuner))
    writer = tf.summary.create_file_writer(os.path.join(work, "logs"))
    if not progress.restore():
        features, held = tuner.features(pixels[learn]), tuner.features(pixels[measure])
        tuner.set_statistics(features)
        for epoch in range(_HEAD_EPOCHS):
            loss = tuner.train_head(features, labels[learn], epoch)
            accuracy = tuner.accuracy(held, labels[measure])
            _write(writer, "head", epoch + 1, loss, accuracy)
            report("head", epoch + 1, _HEAD_EPOCHS)
        _log.info("A linear classifier on the frozen features: held-out accuracy %.4f.", accuracy)
        progress.probe = accuracy
        progress.advance(0, accuracy)
    while progress.epoch < config.epochs and progress.epoch - progress.best_epoch < config.patience:
        epoch = progress.epoch

        def on_step(done: int, total: int, epoch: int = epoch) -> None:
            report("all layers", epoch * total + done, config.epochs * total)

        loss = tuner.train_all(pixels[learn], labels[learn], epoch, on_step)
        accuracy = tuner.accuracy(tuner.features(pixels[measure]), labels[measure])
        _write(writer, "all", epoch + 1, loss, accuracy)
        _log.info("Pass %d: loss %.4f, held-out accuracy %.4f.", epoch + 1, loss, accuracy)
        progress.advance(epoch + 1, accuracy)
    progress.restore_best()
    return FinetuneResult(
        probe_accuracy=progress.probe,
        accuracy=progress.best,
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        train_images=len(learn),
        held_out_images=len(measure),
    )


class _Progress:
    """The progress of a training on disk: the latest state, the best state, and a few numbers."""

    def __init__(self, tuner: Finetuner, directory: str, identity: dict[str, Any]) -> None:
        import tensorflow as tf

        self._directory, self._identity = directory, identity
        self._latest = tf.train.Checkpoint(state=tuner.state, optimizer=tuner.optimizer_state)
        self._best = tf.train.Checkpoint(state=tuner.state)
        self.epoch = self.best_epoch = 0
        self.best = self.probe = 0.0

    def advance(self, epoch: int, accuracy: float) -> None:
        """Records a finished pass and writes the checkpoints; progress.json is written last."""
        best = f"best-{self.best_epoch}"
        self.epoch = epoch
        if epoch == 0 or accuracy > self.best:
            self.best, self.best_epoch = accuracy, epoch
            best = f"best-{epoch}"
            self._best.write(os.path.join(self._directory, best))
        latest = f"latest-{epoch}"
        self._latest.write(os.path.join(self._directory, latest))
        numbers = {
            "epoch": epoch,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "probe": self.probe,
            "run": self._identity,
        }
        path = os.path.join(self._directory, "progress.json")
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(numbers, file)
        os.replace(f"{path}.part", path)
        for name in os.listdir(self._directory):
            if not name.startswith((f"{latest}.", f"{best}.", "progress.json")):
                _remove(os.path.join(self._directory, name))

    def restore(self) -> bool:
        """Goes on from the checkpoints of an earlier run; returns False if there are none."""
        try:
            with open(os.path.join(self._directory, "progress.json"), encoding="utf-8") as file:
                numbers = json.load(file)
        except FileNotFoundError:
            os.makedirs(self._directory, exist_ok=True)
            return False
        if numbers.pop("run") != self._identity:
            raise ModelError(
                f"{self._directory!r} has the checkpoints of another run (other images, labels or "
                "options); remove it, or name another --work."
            )
        self.epoch, self.best_epoch = numbers["epoch"], numbers["best_epoch"]
        self.best, self.probe = numbers["best"], numbers["probe"]
        self._latest.read(os.path.join(self._directory, f"latest-{self.epoch}")).assert_consumed()
        _log.info("Going on after pass %d.", self.epoch)
        return True

    def restore_best(self) -> None:
        """Makes the best state the current one."""
        self._best.read(os.path.join(self._directory, f"best-{self.best_epoch}")).assert_consumed()


def _remove(path: str) -> None:
    if os.path.isdir(path):  # TensorFlow has died here while it wrote a checkpoint.
        shutil.rmtree(path)
    else:
        os.remove(path)


def _identity(labels: npt.NDArray[np.int32], tuner: Finetuner) -> dict[str, Any]:
    counts = [int(n) for n in np.bincount(labels)]
    # Earlier versions knew only [0, 1], and recorded nothing.
    scaling = {} if tuner.scaling == Scaling() else {"scaling": tuner.scaling.to_json()}
    return {**tuner.config.to_json(), "images_by_class": counts, **scaling}


def _write(writer: Any, phase: str, epoch: int, loss: float, accuracy: float) -> None:
    """Logs for TensorBoard, without tf.summary.scalar, which needs it to be installed."""
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    )
    with writer.as_default(step=epoch):
        for name, value in (("loss", loss), ("held_out_accuracy", accuracy)):
            tf.summary.write(f"{phase}/{name}", tf.constant(value, tf.float32), metadata=metadata)
    writer.flush()
