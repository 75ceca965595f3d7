"""Modules of a few numbers, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def images(size: int = 8, batch: int | None = None) -> Any:
    import tensorflow as tf

    return tf.TensorSpec([batch, size, size, 3], tf.float32, name="images")


def means(batch: Any) -> Any:
    """Features of three numbers: the mean colour."""
    import tensorflow as tf

    return tf.reduce_mean(batch, [1, 2])


def save(directory: Path, function: Callable[..., Any], *specs: Any, **variables: Any) -> str:
    """Saves a function as the `__call__` of a SavedModel, which signatures follow."""
    import tensorflow as tf

    module = tf.train.Checkpoint(**variables)
    module.__call__ = tf.function(function, input_signature=specs or [images()])
    tf.saved_model.save(module, str(directory))
    return str(directory)


def save_traced(directory: Path, function: Callable[..., Any], *traces: tuple[Any, Any]) -> str:
    """Saves a `__call__` that was traced with positional and named arguments."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    module.__call__ = tf.function(function)
    for positional, named in traces:
        module.__call__.get_concrete_function(*positional, **named)
    tf.saved_model.save(module, str(directory))
    return str(directory)


def save_tf1(directory: Path, *tag_sets: Sequence[str]) -> str:
    """Saves a SavedModel of TensorFlow 1 with a graph for each set of tags."""
    import tensorflow.compat.v1 as tf1

    builder = tf1.saved_model.Builder(str(directory))
    for number, tags in enumerate(tag_sets):
        with tf1.Graph().as_default(), tf1.Session() as session:
            batch = tf1.placeholder(tf1.float32, [None, 8, 8, 3])
            weights = tf1.get_variable(
                "w", initializer=np.eye(3, 4, dtype=np.float32), use_resource=True
            )
            define = tf1.saved_model.predict_signature_def
            features = tf1.reduce_mean(batch, [1, 2]) @ weights
            signatures = {"serving_default": define({"images": batch}, {"features": features})}
            session.run(tf1.global_variables_initializer())
            if number:
                builder.add_meta_graph(list(tags), signatures)
            else:
                builder.add_meta_graph_and_variables(session, list(tags), signatures)
    builder.save()
    return str(directory)
