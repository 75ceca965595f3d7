"""The exports of MobileNet V2: a TF1 Hub module, and a TF2 SavedModel."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network
from image_features.models.files import staged_directory
from image_features.models.metadata import ModuleMetadata, write_metadata
from image_features.models.scaling import Scaling

HUB_MODULE_MARKER = "tfhub_module.pb"
_HUB_FORMAT_3 = b"\x08\x03"  # Hub's ModuleDef with `format: FORMAT_V3` (field 1, varint 3).
SIGNATURES = ("default", "image_feature_vector")
BATCH_NORM_SIGNATURE = "image_feature_vector_with_bn_hparams"


def _checked(weights: network.Weights, depth_multiplier: float) -> dict[str, network.Shape]:
    """Returns the shapes of the variables, once the weights are known to have them."""
    shapes = network.variable_shapes(depth_multiplier)
    for name, shape in shapes.items():
        found = np.shape(weights[name]) if name in weights else None
        if found != shape:
            raise ModelError(
                f"The weights have {name!r} with shape {found}, and depth multiplier "
                f"{depth_multiplier} needs {shape}; pass the weights' own depth multiplier."
            )
    return shapes


def _build_graph(
    tf: Any, image_size: int, depth_multiplier: float, training: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fills the default graph; returns variables by name and signatures by name."""
    variables: dict[str, Any] = {}

    def get(name: str, shape: network.Shape) -> Any:
        variables[name] = tf.compat.v1.get_variable(
            name,
            shape,
            tf.float32,
            initializer=tf.compat.v1.zeros_initializer(),
            trainable=network.is_trainable(name),
            use_resource=True,
            regularizer=(lambda w: network.WEIGHT_DECAY * tf.nn.l2_loss(w))
            if network.is_regularized(name)
            else None,
        )
        return variables[name]

    images = tf.compat.v1.placeholder(tf.float32, [None, image_size, image_size, 3], name="images")
    momentum = tf.compat.v1.placeholder_with_default(
        tf.constant(network.BATCH_NORM_DECAY), [], name="batch_norm_momentum"
    )
    features, updates = network.forward(
        images,
        get,
        training=training,
        depth_multiplier=depth_multiplier,
        batch_norm_momentum=momentum,
    )
    features = tf.identity(features, name="feature_vector")
    for variable, value in updates:
        tf.compat.v1.add_to_collection(
            tf.compat.v1.GraphKeys.UPDATE_OPS, tf.compat.v1.assign(variable, value).op
        )
    signature_def = tf.compat.v1.saved_model.predict_signature_def
    outputs = {"default": features}
    signatures = dict.fromkeys(SIGNATURES, signature_def({"images": images}, outputs))
    signatures[BATCH_NORM_SIGNATURE] = signature_def(
        {"images": images, "batch_norm_momentum": momentum}, outputs
    )
    return variables, signatures


def _make_deterministic(path: str) -> None:
    """Rewrites saved_model.pb with its maps in sorted order."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        message.ParseFromString(file.read())
    with open(path, "wb") as file:
        file.write(message.SerializeToString(deterministic=True))


def export_tf1_hub(
    weights: network.Weights,
    directory: str,
    *,
    image_size: int = 96,
    depth_multiplier: float = 0.5,
) -> None:
    """Writes a TF1 Hub module (format 3): graphs tagged {} and {"train"}.

    Both graphs have the signatures `default` and `image_feature_vector`, from "images", float32
    [None, image_size, image_size, 3] in [0, 1], to "default", float32 [None, num_features], and
    `image_feature_vector_with_bn_hparams`, which also takes "batch_norm_momentum", a float32
    scalar: the part of themselves that moving statistics keep in a training step. The training
    graph has the collections update_ops and regularization_losses. With one version of TensorFlow,
    every run gives the same bytes, `fingerprint.pb` apart.

    Args:
      weights: float32 arrays by variable name, shaped as `mobilenet_v2.variable_shapes` says.
      directory: The directory to write; it must not exist, or be empty.
      image_size: The height and width of the images, in pixels.
      depth_multiplier: The factor of all depths of the network.

    Raises:
      ModelError: A weight is missing or misshapen, or the directory cannot be written.
    """
    import tensorflow as tf

    _checked(weights, depth_multiplier)
    with staged_directory(directory) as staging:
        builder = tf.compat.v1.saved_model.Builder(staging)
        for training in (False, True):
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                variables, signatures = _build_graph(tf, image_size, depth_multiplier, training)
                # A sharded saver, the default, would write a random id into the graph.
                saver = tf.compat.v1.train.Saver(variables, sharded=False)
                if training:
                    builder.add_meta_graph(["train"], signatures, saver=saver)
                else:
                    # All at once: each run would look at the whole graph again.
                    initial = {name: variable.initializer for name, variable in variables.items()}
                    session.run(
                        list(initial.values()),
                        {initial[name].inputs[1]: weights[name] for name in initial},
                    )
                    builder.add_meta_graph_and_variables(session, [], signatures, saver=saver)
        builder.save()
        _make_deterministic(os.path.join(staging, "saved_model.pb"))
        with open(os.path.join(staging, HUB_MODULE_MARKER), "wb") as file:
            file.write(_HUB_FORMAT_3)


def export_tf2(
    weights: network.Weights,
    directory: str,
    *,
    image_size: int = 96,
    depth_multiplier: float = 0.5,
    source: str = "",
) -> None:
    """Writes a reusable TF2 SavedModel, as TensorFlow Hub defines it.

    The object is called as `(images, training=False, batch_norm_momentum=0.997)`, and has
    `variables`, `trainable_variables`, `regularization_losses` and the signature
    `serving_default`, from "images", float32 [None, image_size, image_size, 3] in [0, 1], to
    "default".

    Args:
      weights: float32 arrays by variable name, shaped as `mobilenet_v2.variable_shapes` says.
      directory: The directory to write; it must not exist, or be empty.
      image_size: The height and width of the images, in pixels.
      depth_multiplier: The factor of all depths of the network.
      source: What the weights are, in words, for the module's metadata.

    Raises:
      ModelError: A weight is missing or misshapen, or the directory cannot be written.
    """
    import tensorflow as tf

    variables = {
        name: tf.Variable(weights[name], trainable=network.is_trainable(name), name=name)
        for name in _checked(weights, depth_multiplier)
    }
    spec = tf.TensorSpec([None, image_size, image_size, 3], tf.float32, name="images")
    call = _call_function(variables, depth_multiplier)

    def serve(images: Any) -> dict[str, Any]:
        return {"default": call(images)}

    module = _reusable_module(variables, call, spec)
    signatures = {"serving_default": tf.function(serve, input_signature=[spec])}
    with staged_directory(directory) as staging:
        tf.saved_model.save(module, staging, signatures=signatures)
        write_metadata(staging, ModuleMetadata(Scaling(), source))


def _call_function(variables: dict[str, Any], depth_multiplier: float) -> Callable[..., Any]:
    """Returns the network as a function that updates its moving statistics when it trains."""

    def call(
        images: Any,
        training: bool = False,
        batch_norm_momentum: Any = network.BATCH_NORM_DECAY,
    ) -> Any:
        features, updates = network.forward(
            images,
            lambda name, _: variables[name],
            training=training,
            depth_multiplier=depth_multiplier,
            batch_norm_momentum=batch_norm_momentum,
        )
        for variable, value in updates:
            variable.assign(value)
        return features

    return call


def _reusable_module(variables: dict[str, Any], call: Callable[..., Any], spec: Any) -> Any:
    """Builds the object that TensorFlow Hub's interface describes, its `__call__` traced."""
    import tensorflow as tf

    def loss(name: str) -> Any:
        return tf.function(
            lambda: network.WEIGHT_DECAY * tf.nn.l2_loss(variables[name]), input_signature=[]
        )

    # A Checkpoint takes any attribute, `variables` among them; a tf.Module does not.
    module = tf.train.Checkpoint()
    module.variables = list(variables.values())
    module.trainable_variables = [v for v in module.variables if v.trainable]
    module.regularization_losses = [loss(n) for n in variables if network.is_regularized(n)]
    module.__call__ = tf.function(call)
    momentum = tf.TensorSpec([], tf.float32, name="batch_norm_momentum")
    for training in (False, True):
        # Without the momentum too: a trace is found by the arguments that it was made with.
        module.__call__.get_concrete_function(spec, training=training)
        module.__call__.get_concrete_function(spec, training, momentum)
    return module
