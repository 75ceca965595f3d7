"""Trains the small network to give a large one's features: `python -m training.distill --help`.

Three losses: the student's features are to be the teacher's; the images of a batch are to be as
alike to each other for the one as for the other; and a linear layer, thrown away afterwards, is to
find the label. The command may be killed at any time, and goes on from its last checkpoint.
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
import numpy.typing as npt

from benchmarks.feature_quality import knn_accuracy
from image_features.models import mobilenet_v2 as network
from image_features.models.weights import load_bundled, save_bundled
from training.student import initial_weights
from training.targets import compute_targets, target_path
from training.views import LabelledImages, crop, crop_boxes, load_images

_log = logging.getLogger(__name__)
_LABEL_SMOOTHING = 0.1  # Szegedy et al., CVPR 2016.
_TEMPERATURE = 0.05  # Of the softmax over a batch's cosine similarities.


@dataclasses.dataclass(frozen=True, slots=True)
class DistillConfig:
    """What a training run is determined by.

    Attributes:
      depth_multiplier: Of the student.
      image_size: Side of the student's input, in pixels.
      teacher_size: Side of the teacher's input, in pixels.
      views: Number of crops of each image that the teacher has seen.
      held_out: Images of each class that are kept for measuring.
      epochs: Passes over the images.
      batch: Images a step.
      learning_rate: Its peak, after one epoch's linear warm-up; a cosine leads to 0.
      weight_decay: Decoupled, on full kernels only.
      relation_weight: Weight of the loss on similarities; that on features has weight 1.
      label_weight: Weight of the loss on labels.
      average: Decay of the moving average of the weights, which is what is kept.
      seed: Of crops, order and flips.
    """

    depth_multiplier: float = 0.5
    image_size: int = 96
    teacher_size: int = 160
    views: int = 6
    held_out: int = 10
    epochs: int = 20
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    relation_weight: float = 1.0
    label_weight: float = 0.25
    average: float = 0.999
    seed: int = 0


class _Data:
    """The batches of a run; which images and views a step sees depends on the step alone."""

    def __init__(self, images: LabelledImages, directory: str, config: DistillConfig) -> None:
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
        self._targets = [
            np.load(target_path(directory, config.teacher_size, v), mmap_mode="r")
            for v in range(config.views)
        ]
        self.steps_per_epoch = len(self._train) // config.batch
        sample = np.asarray(self._targets[0][self._train[:: max(1, len(self._train) // 8192)]])
        self.mean = sample.astype(np.float32).mean(axis=0)
        deviation = sample.astype(np.float32).std(axis=0)
        self.deviation = np.maximum(deviation, 0.1 * deviation.mean())

    def batch(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Pixels, boxes, whether to flip, labels and targets."""
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

    def held_out(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Pixels and labels of the images that are not trained on."""
        return self._images.pixels[self._held], self._images.labels[self._held]


class _Student:
    """The network, its optimizer and its average, as one checkpoint."""

    def __init__(self, weights: network.Weights, data: _Data, classes: int, config: DistillConfig):
        import keras
        import tensorflow as tf

        self._config = config
        self._mean, self._deviation = data.mean, data.deviation
        self.variables = {
            name: tf.Variable(weights[name], trainable=network.is_trainable(name))
            for name in network.variable_shapes(config.depth_multiplier)
        }
        self.average = {name: tf.Variable(array) for name, array in weights.items()}
        features = network.num_features(config.depth_multiplier)
        self._head = tf.Variable(tf.zeros([features, classes]))
        self._bias = tf.Variable(tf.zeros([classes]))
        self._trained = [v for n, v in self.variables.items() if network.is_trainable(n)]
        self._trained += [self._head, self._bias]
        self.optimizer = keras.optimizers.Adam(config.learning_rate, beta_2=0.99)
        self.optimizer.build(self._trained)
        self._decayed = [v for n, v in self.variables.items() if network.is_regularized(n)]
        self.step = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(
            variables=list(self.variables.values()),
            average=list(self.average.values()),
            head=[self._head, self._bias],
            optimizer=self.optimizer.variables,
            step=self.step,
        )
        self.train = tf.function(self._train, reduce_retracing=True)
        self.features = tf.function(self._features, reduce_retracing=True)

    def _train(
        self, pixels: Any, boxes: Any, flip: Any, labels: Any, targets: Any, rate: Any
    ) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        images = crop(pixels, boxes, self._config.image_size)
        images = tf.where(flip[:, None, None, None], images[:, :, ::-1], images)
        with tf.GradientTape() as tape:
            features, updates = network.forward(
                images,
                lambda name, _: self.variables[name],
                training=True,
                depth_multiplier=self._config.depth_multiplier,
            )
            feature_loss = tf.reduce_mean(tf.square((features - targets) / self._deviation))
            relation_loss = _relation_loss(features, targets)
            logits = ((features - self._mean) / self._deviation) @ self._head + self._bias
            classes = tf.shape(logits)[1]
            soft = tf.one_hot(labels, classes) * (1 - _LABEL_SMOOTHING)
            soft += _LABEL_SMOOTHING / tf.cast(classes, tf.float32)
            label_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, logits))
            loss = feature_loss
            loss += self._config.relation_weight * relation_loss
            loss += self._config.label_weight * label_loss
        gradients = tape.gradient(loss, self._trained)
        for variable in self._decayed:
            variable.assign_sub(rate * self._config.weight_decay * variable)
        self.optimizer.learning_rate = rate
        self.optimizer.apply(gradients, self._trained)
        for variable, value in updates:
            variable.assign(value)
        # A short average at first, so that the initial weights are forgotten.
        step = tf.cast(self.step.assign_add(1), tf.float32)
        decay = tf.minimum(self._config.average, (1 + step) / (10 + step))
        for name, variable in self.variables.items():
            self.average[name].assign(decay * self.average[name] + (1 - decay) * variable)
        return feature_loss, relation_loss, label_loss

    def _features(self, pixels: Any) -> Any:
        import tensorflow as tf

        boxes = tf.tile([[0.0, 0.0, 1.0, 1.0]], [tf.shape(pixels)[0], 1])
        features, _ = network.forward(
            crop(pixels, boxes, self._config.image_size),
            lambda name, _: self.average[name],
            training=False,
            depth_multiplier=self._config.depth_multiplier,
        )
        return features

    def held_out_accuracy(self, data: _Data) -> float:
        """kNN accuracy of the averaged weights on the held-out images."""
        pixels, labels = data.held_out()
        features = [self.features(pixels[i : i + 100]).numpy() for i in range(0, len(pixels), 100)]
        return knn_accuracy(np.concatenate(features), labels)


def _relation_loss(features: Any, targets: Any) -> Any:
    """How far the student's similarities within a batch are from the teacher's, as KL divergence.

    After Park et al., "Relational Knowledge Distillation", CVPR 2019, with similarities as
    distributions over the batch.
    """
    import tensorflow as tf

    def similarities(vectors: Any) -> Any:
        unit = tf.math.l2_normalize(vectors, axis=1)
        scores = tf.matmul(unit, unit, transpose_b=True) / _TEMPERATURE
        return tf.linalg.set_diag(scores, tf.fill([tf.shape(scores)[0]], -1e4))

    wanted = tf.nn.softmax(similarities(targets))
    entropy = -tf.reduce_sum(tf.math.xlogy(wanted, wanted), axis=1)
    cross = tf.nn.softmax_cross_entropy_with_logits(wanted, similarities(features))
    return tf.reduce_mean(cross - entropy)


def learning_rate(config: DistillConfig, step: int, steps_per_epoch: int) -> float:
    """One epoch of linear warm-up, then half a cosine."""
    total = config.epochs * steps_per_epoch
    if step < steps_per_epoch:
        return config.learning_rate * (step + 1) / steps_per_epoch
    part = (step - steps_per_epoch) / max(1, total - steps_per_epoch)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * part))


def distill(
    images: LabelledImages,
    initial: network.Weights,
    directory: str,
    config: DistillConfig,
    *,
    checkpoint_steps: int = 200,
) -> network.Weights:
    """Trains to the end, from the last checkpoint if there is one.

    Args:
      images: What to train on.
      initial: Weights to start from.
      directory: Has the teacher's features; gets checkpoints and log.jsonl.
      config: Of the run; must be the same when it goes on.
      checkpoint_steps: Steps between checkpoints.

    Returns:
      The averaged weights by name.
    """
    import tensorflow as tf

    data = _Data(images, directory, config)
    student = _Student(initial, data, len(images.classes), config)
    manager = tf.train.CheckpointManager(
        student.checkpoint, os.path.join(directory, "checkpoints"), max_to_keep=2
    )
    if manager.latest_checkpoint:
        student.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        _log.info("Going on from step %d.", int(student.step))
    started, first = time.monotonic(), int(student.step)
    losses = []
    for step in range(first, config.epochs * data.steps_per_epoch):
        rate = learning_rate(config, step, data.steps_per_epoch)
        losses.append(student.train(*data.batch(step), tf.constant(rate, tf.float32)))
        done = step + 1
        if done % checkpoint_steps == 0 or done % data.steps_per_epoch == 0:
            manager.save()
        if done % data.steps_per_epoch == 0:
            entry = {
                "epoch": done // data.steps_per_epoch,
                "losses": [round(float(n), 4) for n in np.mean(np.array(losses), axis=0)],
                "held_out_knn": round(student.held_out_accuracy(data), 4),
                "images_per_second": round(
                    (done - first) * config.batch / (time.monotonic() - started), 1
                ),
            }
            losses = []
            with open(os.path.join(directory, "log.jsonl"), "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            _log.info("%s", entry)
    return {name: variable.numpy() for name, variable in student.average.items()}


def main() -> None:
    """Trains and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", required=True, help="Directory of class directories.")
    parser.add_argument("--work", required=True, help="Directory for features and checkpoints.")
    parser.add_argument("--output", required=True, help="The .npz to write.")
    parser.add_argument("--initial", help="An .npz to start from, not the teacher's channels.")
    for field in dataclasses.fields(DistillConfig):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args())
    source, work, output, start = (
        arguments.pop(name) for name in ("images", "work", "output", "initial")
    )
    config = DistillConfig(**arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    images = load_images(source)
    compute_targets(
        images.pixels, work, size=config.teacher_size, views=config.views, seed=config.seed
    )
    if start:
        initial = load_bundled(start)
    else:
        from training.teacher import read_weights  # PyTorch is needed only here.

        initial = initial_weights(read_weights(), config.depth_multiplier)
    save_bundled(distill(images, initial, work, config), output)


if __name__ == "__main__":
    main()
