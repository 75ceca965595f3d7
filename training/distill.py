"""Trains the small network to give a large one's features: `python -m training.distill --help`.

There are three losses: the student's features are to be the teacher's; the images of a batch are
to be as alike to each other for the one as for the other; and a linear layer, thrown away
afterwards, is to find the label. The command may be killed at any time, and goes on from its last
checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import time
from typing import Any

import numpy as np

from image_features.models import mobilenet_v2 as network
from image_features.models.weights import load_bundled, save_bundled
from training.batches import Batches
from training.config import DataConfig, DistillConfig, LossConfig, OptimizerConfig, StudentConfig
from training.initial_weights import initial_weights
from training.student import Student
from training.targets import compute_targets
from training.views import LabelledImages, load_images

_CHECKPOINT_STEPS = 200  # Steps between checkpoints.
_log = logging.getLogger(__name__)


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: one epoch of linear warm-up, then half a cosine."""
    total = config.epochs * steps_per_epoch
    if step < steps_per_epoch:
        return config.learning_rate * (step + 1) / steps_per_epoch
    part = (step - steps_per_epoch) / max(1, total - steps_per_epoch)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * part))


def distill(
    images: LabelledImages, initial: network.Weights, directory: str, config: DistillConfig
) -> network.Weights:
    """Trains to the end, from the last checkpoint if there is one.

    Args:
      images: The images to train on.
      initial: The weights to start from.
      directory: A directory that has the teacher's features, and gets checkpoints and log.jsonl.
      config: The settings; they must be the same when the run goes on.

    Returns:
      The averaged weights by name.
    """
    import tensorflow as tf

    batches = Batches(images, directory, config.data)
    student = Student(initial, batches, len(images.classes), config)
    manager = tf.train.CheckpointManager(
        student.checkpoint, os.path.join(directory, "checkpoints"), max_to_keep=2
    )
    if manager.latest_checkpoint:
        student.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        _log.info("Going on from step %d.", int(student.step))
    started, first = time.monotonic(), int(student.step)
    losses = []
    for step in range(first, config.optimizer.epochs * batches.steps_per_epoch):
        rate = learning_rate(config.optimizer, step, batches.steps_per_epoch)
        losses.append(student.train(*batches.batch(step), tf.constant(rate, tf.float32)))
        done = step + 1
        if done % _CHECKPOINT_STEPS == 0 or done % batches.steps_per_epoch == 0:
            manager.save()
        if done % batches.steps_per_epoch == 0:
            images_done = (done - first) * config.data.batch
            entry = {
                "epoch": done // batches.steps_per_epoch,
                "losses": [round(float(n), 4) for n in np.mean(np.array(losses), axis=0)],
                "held_out_knn": round(student.held_out_accuracy(batches), 4),
                "images_per_second": round(images_done / (time.monotonic() - started), 1),
            }
            losses = []
            _append(os.path.join(directory, "log.jsonl"), entry)
    return {name: variable.numpy() for name, variable in student.average.items()}


def _append(path: str, entry: dict[str, Any]) -> None:
    """Adds a line to the log of epochs."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    _log.info("%s", entry)


def _parse() -> tuple[argparse.Namespace, DistillConfig]:
    """Reads the command line, which has a flag for every setting."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", required=True, help="Directory of class directories.")
    parser.add_argument("--work", required=True, help="Directory for features and checkpoints.")
    parser.add_argument("--output", required=True, help="The .npz to write.")
    parser.add_argument("--initial", help="An .npz to start from, not the teacher's channels.")
    parts = (StudentConfig, DataConfig, OptimizerConfig, LossConfig)
    for part in parts:
        for field in dataclasses.fields(part):
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = parser.parse_args()
    given: list[Any] = [
        part(**{field.name: getattr(options, field.name) for field in dataclasses.fields(part)})
        for part in parts
    ]
    return options, DistillConfig(*given)


def main() -> None:
    """Trains and writes the weights."""
    options, config = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    images = load_images(options.images)
    compute_targets(images.pixels, options.work, config.data)
    if options.initial:
        initial = load_bundled(options.initial)
    else:
        from training.teacher import read_weights  # PyTorch is needed only here.

        initial = initial_weights(read_weights(), config.student.depth_multiplier)
    save_bundled(distill(images, initial, options.work, config), options.output)


if __name__ == "__main__":
    main()
