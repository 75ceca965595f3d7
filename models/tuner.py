"""A reusable SavedModel and a linear classifier on it, while they learn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.scaling import Scaling

_HEAD_RATE = 1e-3  # Adam's default.
_SMALLEST_CROP = 0.5  # The least area of a random crop, as a part of the image's.
AUGMENTATIONS = ("crop_flip", "crop", "none")


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """The settings of a fine-tuning.

    Attributes:
      epochs: The largest number of passes over the images with all layers learning.
      patience: The number of passes without a better held-out accuracy that ends the training.
      batch_size: The number of images in a step.
      learning_rate: The peak of Adam's rate for all layers; a cosine leads from it to 0.
      batch_norm_momentum: The part of themselves that moving statistics keep in a step, if the
        module takes it.
      augment: "crop_flip" for photographs; "crop" where left and right have a meaning, as in
        writing; "none" where the place has one too.
      held_out: The part of each class's images that is kept for measuring.
      seed: The seed of the split, the order, the crops and the flips.
    """

    epochs: int = 20
    patience: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    batch_norm_momentum: float = 0.9
    augment: str = "crop_flip"
    held_out: float = 0.2
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the settings by the names that finetune.json and progress.json have."""
        return {
            "epochs": self.epochs,
            "patience": self.patience,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "batch_norm_momentum": self.batch_norm_momentum,
            "augment": self.augment,
            "held_out": self.held_out,
            "seed": self.seed,
        }

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
          ValueError: A value cannot be used.
        """
        for name in ("epochs", "patience", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name}={getattr(self, name)} must be above 0.")
        if self.augment not in AUGMENTATIONS:
            raise ValueError(f"--augment={self.augment} is none of {', '.join(AUGMENTATIONS)}.")
        if self.batch_size < 2:
            raise ValueError(f"--batch_size={self.batch_size} must be at least 2.")
        if self.seed < 0:
            raise ValueError(f"--seed={self.seed} must not be below 0.")
        for name in ("batch_norm_momentum", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"--{name}={getattr(self, name)} must be between 0 and 1.")


class Finetuner:
    """A module, a classifier on it and their optimizers, as one checkpoint.

    Attributes:
      config: The settings.
      scaling: What becomes of pixels before the module sees them.
      state: The variables that a state consists of.
      optimizer_state: The variables of the optimizers.
    """

    def __init__(
        self,
        loaded: Any,
        directory: str,
        image_size: tuple[int, int],
        classes: int,
        config: FinetuneConfig,
        scaling: Scaling | None = None,
    ) -> None:
        """Takes a loaded SavedModel.

        Args:
          loaded: The object that tf.saved_model.load gave.
          directory: The directory of the SavedModel, for messages.
          image_size: (height, width) of its images in pixels.
          classes: The number of classes.
          config: The settings.
          scaling: What becomes of pixels before the module sees them; None makes them [0, 1].

        Raises:
          ModelError: The SavedModel cannot be trained.
        """
        import keras
        import tensorflow as tf

        self._loaded, self.config = loaded, config
        self.scaling = scaling or Scaling()
        self._module_variables = list(getattr(loaded, "variables", ()))
        self._trainable = list(getattr(loaded, "trainable_variables", ()))
        self._losses = list(getattr(loaded, "regularization_losses", ()))
        if not callable(loaded) or not self._trainable:
            raise ModelError(
                f"The model in {directory!r} cannot be trained: it is not a reusable SavedModel "
                "with trainable variables; a TF1 Hub module of the MobileNet V2 family is "
                "converted by itself, any other needs a TF2 version of it."
            )
        trial = tf.zeros([2, *image_size, 3])
        self._forward = self._find_forward(trial, directory)
        features = int(self._forward(trial, False).shape[1])
        # The statistics of the frozen features scale the classifier's input.
        self._mean = tf.Variable(tf.zeros([features]), trainable=False)
        self._deviation = tf.Variable(tf.ones([features]), trainable=False)
        self._kernel = tf.Variable(tf.zeros([features, classes]))
        self._bias = tf.Variable(tf.zeros([classes]))
        self._head = [self._kernel, self._bias]
        self._head_optimizer = keras.optimizers.Adam(_HEAD_RATE)
        self._head_optimizer.build(self._head)
        self._optimizer = keras.optimizers.Adam(config.learning_rate)
        self._optimizer.build(self._trainable + self._head)
        self.state = [*self._module_variables, *self._head, self._mean, self._deviation]
        self.optimizer_state = [*self._head_optimizer.variables, *self._optimizer.variables]
        self._head_step = tf.function(self._take_head_step, reduce_retracing=True)
        self._step = tf.function(self._take_step, reduce_retracing=True)
        self._features = tf.function(
            lambda pixels: self._forward(self.scaling.to_tensor(pixels), False),
            reduce_retracing=True,
        )

    def _find_forward(self, trial: Any, directory: str) -> Callable[[Any, bool], Any]:
        """Finds how to call the module for training: with our momentum if it takes one."""
        import tensorflow as tf

        momentum = tf.constant(self.config.batch_norm_momentum)
        before = [variable.numpy() for variable in self._module_variables]

        def with_momentum(images: Any, training: bool) -> Any:
            if not training:
                return self._loaded(images, training=False)
            return self._loaded(images, training=True, batch_norm_momentum=momentum)

        def plain(images: Any, training: bool) -> Any:
            return self._loaded(images, training=training)

        failure: Exception | None = None
        for call in (with_momentum, plain):
            try:
                call(trial, True)
            except (TypeError, ValueError) as error:
                failure = error
                continue
            for variable, value in zip(self._module_variables, before, strict=True):
                variable.assign(value)
            return call
        raise ModelError(
            f"The model in {directory!r} cannot be trained: it does not take `training=True` "
            f"({str(failure).splitlines()[0]}); choose a TF2 module that does."
        ) from failure

    def _logits(self, features: Any) -> Any:
        return ((features - self._mean) / self._deviation) @ self._kernel + self._bias

    def _take_head_step(self, features: Any, labels: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = _cross_entropy(labels, self._logits(features))
        self._head_optimizer.apply(tape.gradient(loss, self._head), self._head)
        return loss

    def _take_step(self, pixels: Any, boxes: Any, flip: Any, labels: Any, rate: Any) -> Any:
        import tensorflow as tf

        images = self.scaling.to_tensor(pixels)
        rows = tf.range(tf.shape(images)[0])
        images = tf.image.crop_and_resize(images, boxes, rows, tf.shape(images)[1:3])
        images = tf.where(flip[:, None, None, None], images[:, :, ::-1], images)
        variables = self._trainable + self._head
        with tf.GradientTape() as tape:
            loss = _cross_entropy(labels, self._logits(self._forward(images, True)))
            total = tf.add_n([loss, *(term() for term in self._losses)])
        self._optimizer.learning_rate = rate
        self._optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Computes float32 [count, num_features] for uint8 [count, height, width, 3]."""
        step = self.config.batch_size
        parts = [self._features(pixels[i : i + step]).numpy() for i in range(0, len(pixels), step)]
        return np.concatenate(parts)

    def accuracy(self, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
        """Returns the share of rows that the classifier gets right."""
        return float((self._logits(features).numpy().argmax(axis=1) == labels).mean())

    def set_statistics(self, features: npt.NDArray[np.float32]) -> None:
        """Makes the classifier scale its input by these features' mean and deviation."""
        deviation = features.std(axis=0)
        self._mean.assign(features.mean(axis=0))
        self._deviation.assign(np.maximum(deviation, 0.05 * deviation.mean() + 1e-6))

    def train_head(
        self, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], epoch: int
    ) -> float:
        """Trains the classifier for a pass over frozen features; returns the mean loss."""
        order = np.random.default_rng([self.config.seed, 1, epoch]).permutation(len(labels))
        return float(
            np.mean(
                [self._head_step(features[rows], labels[rows]) for rows in self._batches(order)]
            )
        )

    def train_all(
        self,
        pixels: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int32],
        epoch: int,
        on_step: Callable[[int, int], None],
    ) -> float:
        """Trains all layers for a pass over the images; returns the mean loss."""
        import tensorflow as tf

        stream = np.random.default_rng([self.config.seed, 2, epoch])
        batches = self._batches(stream.permutation(len(labels)))
        losses = []
        for number, rows in enumerate(batches):
            part = (epoch + number / len(batches)) / self.config.epochs
            rate = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * part))
            least = 1.0 if self.config.augment == "none" else _SMALLEST_CROP
            side = np.sqrt(stream.uniform(least, 1, (len(rows), 1)))
            corner = stream.random((len(rows), 2)) * (1 - side)
            boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
            flip = stream.random(len(rows)) < (0.5 if self.config.augment == "crop_flip" else 0)
            losses.append(
                self._step(pixels[rows], boxes, flip, labels[rows], tf.constant(rate, tf.float32))
            )
            on_step(number + 1, len(batches))
        return float(np.mean(losses))

    def _batches(self, order: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
        """Cuts rows into whole batches; a smaller one would have unsettled statistics."""
        size = min(self.config.batch_size, len(order))
        return [order[i : i + size] for i in range(0, len(order) - size + 1, size)]

    def save(self, directory: str) -> None:
        """Writes the module as it is now, as a reusable SavedModel of the same interface."""
        import tensorflow as tf

        tf.saved_model.save(self._loaded, directory, signatures=dict(self._loaded.signatures))

    def classifier(self) -> dict[str, npt.NDArray[np.float32]]:
        """Returns the classifier on raw features: logits = features @ kernel + bias."""
        kernel = self._kernel.numpy() / self._deviation.numpy()[:, None]
        return {"kernel": kernel, "bias": self._bias.numpy() - self._mean.numpy() @ kernel}


def _cross_entropy(labels: Any, logits: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
