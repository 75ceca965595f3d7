"""The network in training: its optimizer, its losses and the moving average that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.feature_quality import knn_accuracy
from image_features.models import mobilenet_v2 as network
from training.batches import Batches
from training.config import DistillConfig
from training.views import crop

_LABEL_SMOOTHING = 0.1  # Szegedy et al., CVPR 2016.
_TEMPERATURE = 0.05  # The temperature of the softmax over a batch's cosine similarities.
_RIDGE = 1e-2  # The weight of the map's own size, in parts of the mean variance.
_MEASURED = 100  # The number of held-out images that are measured at once.


class Student:
    """The network, its optimizer and its average, as one checkpoint.

    Attributes:
      average: The averaged weights by name, TensorFlow variables.
      step: The number of steps done, a TensorFlow variable.
      checkpoint: All that training goes on from, a tf.train.Checkpoint.
    """

    def __init__(
        self, weights: network.Weights, batches: Batches, classes: int, config: DistillConfig
    ) -> None:
        """Builds the network.

        Args:
          weights: The weights to start from.
          batches: The source of the scale of the teacher's features.
          classes: The number of classes.
          config: The settings of the run.
        """
        import keras
        import tensorflow as tf

        self._config = config
        self._mean, self._deviation = batches.mean, batches.deviation
        self._map: Any = None
        multiplier = config.student.depth_multiplier
        self._variables = {
            name: tf.Variable(weights[name], trainable=network.is_trainable(name))
            for name in network.variable_shapes(multiplier)
        }
        self.average = {name: tf.Variable(array) for name, array in weights.items()}
        self._head = tf.Variable(tf.zeros([network.num_features(multiplier), classes]))
        self._bias = tf.Variable(tf.zeros([classes]))
        self._trained = [v for n, v in self._variables.items() if network.is_trainable(n)]
        self._trained += [self._head, self._bias]
        if config.loss.values == "mapped":
            self._map = tf.Variable(self._fitted_map(batches))
            self._trained.append(self._map)
        self._optimizer = keras.optimizers.Adam(config.optimizer.learning_rate, beta_2=0.99)
        self._optimizer.build(self._trained)
        self._decayed = [v for n, v in self._variables.items() if network.is_regularized(n)]
        self.step = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(
            variables=list(self._variables.values()),
            average=list(self.average.values()),
            head=[self._head, self._bias, *([] if self._map is None else [self._map])],
            optimizer=self._optimizer.variables,
            step=self.step,
        )
        self.train = tf.function(self._train, reduce_retracing=True)
        self._features = tf.function(self._averaged_features, reduce_retracing=True)

    def _train(
        self, pixels: Any, boxes: Any, flip: Any, labels: Any, targets: Any, rate: Any
    ) -> tuple[Any, Any, Any]:
        """Takes a step on a batch; returns the losses on features, relations and labels."""
        import tensorflow as tf

        images = crop(pixels, boxes, self._config.student.image_size)
        images = tf.where(flip[:, None, None, None], images[:, :, ::-1], images)
        with tf.GradientTape() as tape:
            features, updates = network.forward(
                images,
                lambda name, _: self._variables[name],
                training=True,
                depth_multiplier=self._config.student.depth_multiplier,
            )
            values = features if self._map is None else _with_one(features) @ self._map
            feature_loss = tf.reduce_mean(tf.square((values - targets) / self._deviation))
            relation_loss = _relation_loss(features, targets)
            logits = ((features - self._mean) / self._deviation) @ self._head + self._bias
            label_loss = _label_loss(logits, labels)
            loss = feature_loss
            loss += self._config.loss.relation_weight * relation_loss
            loss += self._config.loss.label_weight * label_loss
        gradients = tape.gradient(loss, self._trained)
        for variable in self._decayed:
            variable.assign_sub(rate * self._config.optimizer.weight_decay * variable)
        self._optimizer.learning_rate = rate
        self._optimizer.apply(gradients, self._trained)
        for variable, value in updates:
            variable.assign(value)
        self._update_average()
        return feature_loss, relation_loss, label_loss

    def _update_average(self) -> None:
        """Moves the average; it is short at first, so that the initial weights are forgotten."""
        import tensorflow as tf

        step = tf.cast(self.step.assign_add(1), tf.float32)
        decay = tf.minimum(self._config.optimizer.average, (1 + step) / (10 + step))
        for name, variable in self._variables.items():
            self.average[name].assign(decay * self.average[name] + (1 - decay) * variable)

    def _fitted_map(self, batches: Batches) -> npt.NDArray[np.float32]:
        """Fits the linear map from the features at the start to the teacher's, by ridge regression.

        Returns:
          float32 [features + 1, teacher's features]; the last row is added.
        """
        pixels, targets = batches.sample()
        parts = range(0, len(pixels), _MEASURED)
        features = [self._averaged_features(pixels[i : i + _MEASURED]).numpy() for i in parts]
        inputs = _with_one(np.concatenate(features)).numpy().astype(np.float64)
        products = inputs.T @ inputs
        ridge = _RIDGE * np.trace(products) / len(products)
        fitted = np.linalg.solve(products + ridge * np.eye(len(products)), inputs.T @ targets)
        return fitted.astype(np.float32)

    def _averaged_features(self, pixels: Any) -> Any:
        """The features that the averaged weights give for whole images."""
        import tensorflow as tf

        boxes = tf.tile([[0.0, 0.0, 1.0, 1.0]], [tf.shape(pixels)[0], 1])
        features, _ = network.forward(
            crop(pixels, boxes, self._config.student.image_size),
            lambda name, _: self.average[name],
            training=False,
            depth_multiplier=self._config.student.depth_multiplier,
        )
        return features

    def held_out_accuracy(self, batches: Batches) -> float:
        """Returns the kNN accuracy of the averaged weights on the held-out images."""
        pixels, labels = batches.held_out()
        parts = range(0, len(pixels), _MEASURED)
        features = [self._features(pixels[i : i + _MEASURED]).numpy() for i in parts]
        return knn_accuracy(np.concatenate(features), labels)


def _with_one(features: Any) -> Any:
    """Returns features with a column of ones."""
    import tensorflow as tf

    return tf.pad(features, [[0, 0], [0, 1]], constant_values=1.0)


def _label_loss(logits: Any, labels: Any) -> Any:
    """The cross entropy with smoothed labels."""
    import tensorflow as tf

    classes = tf.shape(logits)[1]
    soft = tf.one_hot(labels, classes) * (1 - _LABEL_SMOOTHING)
    soft += _LABEL_SMOOTHING / tf.cast(classes, tf.float32)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, logits))


def _relation_loss(features: Any, targets: Any) -> Any:
    """How far the student's similarities within a batch are from the teacher's, as KL divergence.

    The loss follows Park et al., "Relational Knowledge Distillation", CVPR 2019, with similarities
    as distributions over the batch.
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
