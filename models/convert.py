"""The conversion of models: into feature-vector modules, and of MobileNet V2 between formats."""

from __future__ import annotations

import dataclasses
import enum
import os
from typing import Any

import numpy as np

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network
from image_features.models.addresses import shown
from image_features.models.conversion.image_model import (
    Features,
    ImageModel,
    check_features,
    features_of,
    save_module,
)
from image_features.models.conversion.inputs import check_size
from image_features.models.export import export_tf1_hub, export_tf2
from image_features.models.files import staged_directory
from image_features.models.handles import BUILTIN, UNTRAINED, resolve
from image_features.models.scaling import Scaling
from image_features.models.sources.form import Form, recognise
from image_features.models.weights import NetworkWeights, is_weights_file, read_weights
from image_features.system.paths import absolute

_WHOLE_KERAS = (Form.KERAS_ARCHIVE, Form.KERAS_H5_MODEL)


class ModelFormat(enum.StrEnum):
    """The formats that `convert` writes."""

    TF1_HUB = "tf1_hub"
    TF2 = "tf2"
    SLIM = "slim"


@dataclasses.dataclass(frozen=True, slots=True)
class Conversion:
    """What is made of a model.

    Attributes:
      format: The format of the target.
      image_size: The side of the images in pixels; None takes what the source says.
      depth_multiplier: That of a MobileNet V2; None finds it by the shapes of the variables.
      layer: The layer whose output the features are; empty for the last before the classifier.
      pooling: How positions are pooled: "avg", "max", or "" for the model's own or else "avg".
      scaling: What becomes of pixels; None for what the source says.
    """

    format: ModelFormat = ModelFormat.TF2
    image_size: int | None = None
    depth_multiplier: float | None = None
    layer: str = ""
    pooling: str = ""
    scaling: Scaling | None = None

    @property
    def as_it_is(self) -> bool:
        """Whether something is asked for that only the whole model has."""
        return bool(self.layer or self.pooling or self.scaling)


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What was made.

    Attributes:
      source: What was read, in words.
      cut: Where the model was cut, and what was pooled, in words; empty for MobileNet V2's weights.
      image_size: (height, width) of the images in pixels.
      num_features: The length of a feature vector.
      scaling: What becomes of pixels; None if nobody has said.
      range_reason: How that is known, or how it might be stated, in words; may be empty.
    """

    source: str
    cut: str
    image_size: tuple[int, int]
    num_features: int
    scaling: Scaling | None
    range_reason: str = ""


def read_network(source: str, *, depth_multiplier: float | None = None) -> NetworkWeights:
    """Reads the weights of a network from a file, a checkpoint or any model handle.

    Raises:
      ModelError: The source cannot be read, or is not of the MobileNet V2 family.
    """
    return read_weights(_located(source), depth_multiplier=depth_multiplier)


def _located(source: str) -> str:
    """Returns the local path of a model, once it is fetched and unpacked."""
    path = source if source in (BUILTIN, UNTRAINED) else absolute(source)
    if is_weights_file(path):
        return path
    return resolve(source).directory


def convert(source: str, target: str, wanted: Conversion) -> Converted:
    """Makes a module of a model, or writes the weights of a MobileNet V2 in another format.

    In the format tf2 a model is converted as it is: with its own preprocessing, up to the layer
    before its classifier. Where MobileNet V2's own weights make the very same features, they are
    exported as such, in a module that takes [0, 1]. The other formats hold these weights only.

    Args:
      source: A Keras model, a SavedModel, or MobileNet V2's weights in any form.
      target: The directory to make.
      wanted: What is made of it.

    Raises:
      ModelError: The source cannot be read or converted, or the target is there.
    """
    if os.path.lexists(target):
        raise ModelError(f"The target {target!r} exists; name a directory that does not exist yet.")
    if wanted.format is not ModelFormat.TF2 and wanted.as_it_is:
        raise ModelError(
            f"--format={wanted.format} holds the weights of a MobileNet V2 and nothing else, so "
            "--layer, --pooling, --input_range, --mean and --std do not go with it; leave them "
            "out, or use --format=tf2, which takes any model."
        )
    path = _located(source)
    form = recognise(path)
    whole = form is Form.SAVED_MODEL or form in _WHOLE_KERAS
    if wanted.format is not ModelFormat.TF2 or not whole:
        return _write_network(_read(path, source, wanted), source, target, wanted)
    return _convert_whole(path, form, source, target, wanted)


def _read(path: str, source: str, wanted: Conversion) -> NetworkWeights:
    if wanted.as_it_is:
        raise ModelError(
            f"{shown(source)!r} holds weights without a model, so --layer, --pooling and a range "
            "do not go with it; leave them out, or save the whole model and convert that."
        )
    return read_weights(path, depth_multiplier=wanted.depth_multiplier)


def _convert_whole(
    path: str, form: Form | None, source: str, target: str, wanted: Conversion
) -> Converted:
    """Makes a module of a whole model, by its weights alone if that comes to the same."""
    weights = None if wanted.as_it_is else _family(path, wanted.depth_multiplier)
    try:
        model = _open(path, form, wanted)
        features = features_of(model, wanted.pooling)
    except ModelError:
        if weights is None or form is not Form.SAVED_MODEL:
            raise
        return _write_network(weights, source, target, wanted)
    if weights is not None and _agree(model, features, weights):
        if weights.image_size is None and len(set(model.input.size)) == 1:
            weights = dataclasses.replace(weights, image_size=model.input.size[0])
        return _write_network(weights, source, target, wanted)
    if wanted.depth_multiplier is not None:
        raise ModelError(
            f"{shown(source)!r} is not a MobileNet V2 with depth multiplier "
            f"{wanted.depth_multiplier} and nothing else; leave --depth_multiplier out."
        )
    check_size(model.input, wanted.image_size, path)
    check_features(model, features)
    if wanted.scaling is not None:
        model = dataclasses.replace(model, scaling=wanted.scaling, range_reason="as you say")
    save_module(model, features, target)
    return Converted(
        source=model.kind,
        cut=_told_cut(model, features),
        image_size=model.input.size,
        num_features=features.count,
        scaling=model.scaling,
        range_reason=model.range_reason,
    )


def _family(path: str, depth_multiplier: float | None) -> NetworkWeights | None:
    """Reads MobileNet V2's weights; None if there are none."""
    try:
        return read_weights(path, depth_multiplier=depth_multiplier)
    except ModelError:
        return None


def _open(path: str, form: Form | None, wanted: Conversion) -> ImageModel:
    if form is Form.SAVED_MODEL:
        from image_features.models.conversion.saved_model import open_saved_model

        return open_saved_model(path, layer=wanted.layer, image_size=wanted.image_size)
    from image_features.models.conversion.keras_model import open_keras

    assert form is not None
    return open_keras(
        path, form, layer=wanted.layer, pooling=wanted.pooling, image_size=wanted.image_size
    )


def _told_cut(model: ImageModel, features: Features) -> str:
    where = f"the output of {model.layer!r}" if model.layer else "the model's own output"
    pooled = f"; {features.pooling} over its positions" if features.pooling else ""
    return f"{where} ({model.cut}){pooled}"


def _agree(model: ImageModel, features: Features, weights: NetworkWeights) -> bool:
    """Whether a model computes what MobileNet V2's weights alone do, for [0, 1] or [-1, 1]."""
    if features.count != network.num_features(weights.depth_multiplier):
        return False
    batch = model.input.batch or 2
    images = np.random.RandomState(0).random_sample((batch, *model.input.size, 3))
    images = images.astype(np.float32)
    expected, _ = network.forward(
        images,
        lambda name, _: weights.arrays[name],
        training=False,
        depth_multiplier=weights.depth_multiplier,
    )
    limit = 1e-3 * float(np.abs(expected).max())
    return any(
        np.allclose(features.run(taken).numpy(), expected, rtol=1e-3, atol=limit)
        for taken in (images, images * 2 - 1)
    )


def _write_network(
    found: NetworkWeights, source: str, target: str, wanted: Conversion
) -> Converted:
    """Writes MobileNet V2's weights in a format."""
    size = wanted.image_size or found.image_size
    if size is None:
        raise ModelError(
            f"{shown(source)!r} does not say the size of its images; pass --image_size with the "
            "size it was trained for, such as 96 or 224."
        )
    written = NetworkWeights(found.arrays, found.depth_multiplier, size)
    multiplier = written.depth_multiplier
    kind = f"MobileNet V2 with depth multiplier {multiplier}"
    if wanted.format is ModelFormat.SLIM:
        _save_slim(written, target)
    elif wanted.format is ModelFormat.TF1_HUB:
        export_tf1_hub(written.arrays, target, image_size=size, depth_multiplier=multiplier)
    else:
        export_tf2(
            written.arrays, target, image_size=size, depth_multiplier=multiplier, source=kind
        )
    return Converted(
        source=kind,
        cut="",
        image_size=(size, size),
        num_features=network.num_features(multiplier),
        scaling=Scaling(),
        range_reason="as its own preprocessing is in it",
    )


def _save_slim(weights: NetworkWeights, target: str) -> None:
    """Writes a checkpoint named as TF-Slim's published ones are."""
    import tensorflow as tf

    shapes = network.variable_shapes(weights.depth_multiplier)
    name = f"mobilenet_v2_{weights.depth_multiplier}_{weights.image_size}.ckpt"
    with (
        staged_directory(target) as staging,
        tf.Graph().as_default(),
        tf.compat.v1.Session() as session,
    ):
        variables: list[Any] = [
            tf.compat.v1.get_variable(name, initializer=weights.arrays[name]) for name in shapes
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables)
        saver.save(
            session,
            os.path.join(staging, name),
            write_meta_graph=False,
            # Its state file would name the staging directory.
            write_state=False,
        )
