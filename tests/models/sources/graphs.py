"""Graphs of the network with constants for variables, as freezing, folding and fusing leave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from image_features.models import mobilenet_v2

EPSILON = mobilenet_v2.BATCH_NORM_EPSILON


def folded(weights: mobilenet_v2.Weights, layer: mobilenet_v2.Convolution) -> tuple[Any, Any]:
    """Returns a layer's kernel with its batch normalization in it, and the bias that is left."""
    gamma, beta, mean, variance = (
        weights[f"{layer.scope}/BatchNorm/{key}"].astype(np.float64)
        for key in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    kernel = weights[layer.weights] * (scale[:, None] if layer.depthwise else scale)
    return kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)


def graph_of(
    weights: mobilenet_v2.Weights,
    multiplier: float,
    *,
    fold: bool = True,
    change: Callable[[Any, mobilenet_v2.Convolution, Any], Any] | None = None,
    towers: int = 1,
) -> Any:
    """Returns the GraphDef of the network, with names that say nothing and a classifier.

    Args:
      weights: Its weights.
      multiplier: Its depth multiplier.
      fold: Whether batch normalization is in the kernels.
      change: What becomes of the output of a layer before the next one takes it.
      towers: The number of copies of the network, of which others have other kernels.
    """
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, 96, 96, 3], name="images")
        features = []
        for tower in range(towers):
            x = begin = images * 2.0 - 1.0
            for layer in mobilenet_v2.convolutions(multiplier):
                begin = x if layer.shortcut is mobilenet_v2.Shortcut.BEGINS else begin
                kernel, bias = folded(weights, layer)
                kernel = (kernel if fold else weights[layer.weights]) + np.float32(tower)
                run = tf.nn.depthwise_conv2d if layer.depthwise else tf.nn.conv2d
                x = run(x, kernel, [1, layer.stride, layer.stride, 1], "SAME", name="c")
                if fold:
                    x = tf.nn.bias_add(x, bias, name="b")
                else:
                    keys = ("gamma", "beta", "moving_mean", "moving_variance")
                    arrays = [weights[f"{layer.scope}/BatchNorm/{key}"] for key in keys]
                    x = tf.compat.v1.nn.fused_batch_norm(
                        x, *arrays, epsilon=EPSILON, is_training=False
                    )[0]
                x = tf.nn.relu6(x) if layer.relu6 else x
                if layer.shortcut is mobilenet_v2.Shortcut.ENDS:
                    x = x + begin
                x = change(tf, layer, x) if change else x
            features.append(tf.reduce_mean(x, axis=[1, 2]))
        classes = np.ones((sum(f.shape[1] for f in features), 3), np.float32)
        tf.identity(tf.matmul(tf.concat(features, 1), classes), name="classes")
    return graph.as_graph_def()


def optimized(definition: Any, *optimizers: str) -> Any:
    """Returns a graph that TensorFlow's own optimizers have worked on."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        graph.add_to_collection("train_op", graph.get_operation_by_name("classes"))
        for node in graph.get_operations():
            node._set_device("/device:CPU:0")
        meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers[:] = optimizers
    return tf_optimizer.OptimizeGraph(config, meta)


def as_tfjs_names(definition: Any) -> None:
    """Gives fused depthwise convolutions the name that TensorFlow.js's converter gives them."""
    for node in definition.node:
        if node.op == "_FusedDepthwiseConv2dNative":
            node.op = "FusedDepthwiseConv2dNative"
