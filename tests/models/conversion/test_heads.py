"""Where models are cut, whatever their heads look like."""

from __future__ import annotations

from typing import Any

import pytest

from image_features.errors import ModelError
from image_features.models.conversion import heads
from image_features.models.conversion.inputs import ImageInput
from image_features.models.conversion.keras_model import _run
from image_features.models.conversion.layer_calls import Calls
from tests.models.conversion import networks
from tests.models.conversion.networks import pooled


def _calls(keras: Any, model: Any) -> Calls:
    return _run(keras, model, ImageInput(None, (16, 16), "float32"), "model")[0]


def _separate(keras: Any, values: Any) -> Any:
    layers = keras.layers
    values = layers.Dense(3, name="classes")(layers.Dropout(0.5)(pooled(keras, values)))
    return layers.Activation("softmax", dtype="float32")(values)


def _convolution(keras: Any, values: Any) -> Any:
    """As the first MobileNet has it."""
    layers = keras.layers
    values = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(values)
    values = layers.Conv2D(3, 1, name="classes")(layers.Dropout(0.5)(values))
    return layers.Softmax()(layers.Reshape((3,))(values))


def _squeezed(keras: Any, values: Any) -> Any:
    """As SqueezeNet has it."""
    layers = keras.layers
    values = layers.Activation("relu")(layers.Conv2D(3, 1, name="classes")(values))
    return layers.Activation("softmax")(pooled(keras, values))


def _binary(keras: Any, values: Any) -> Any:
    values = keras.layers.Dense(5, activation="relu", name="hidden")(pooled(keras, values))
    return keras.layers.Dense(1, activation="sigmoid", name="classes")(values)


def _flattened(keras: Any, values: Any) -> Any:
    values = keras.layers.Flatten(name="flat")(values)
    return keras.layers.Dense(3, activation="softmax", name="classes")(values)


def _two(keras: Any, values: Any) -> Any:
    values = pooled(keras, values)
    return [keras.layers.Dense(n, activation="softmax", name=f"classes{n}")(values) for n in (2, 3)]


def _linear(keras: Any, values: Any) -> Any:
    return keras.layers.Dense(3, name="classes")(pooled(keras, values))


def _always_dropping(keras: Any, values: Any) -> Any:
    values = keras.layers.Dropout(0.5)(pooled(keras, values), training=True)
    return keras.layers.Dense(3, activation="softmax", name="classes")(values)


def _nothing(keras: Any, values: Any) -> Any:
    return values


@pytest.mark.parametrize("version", [3, 2])
@pytest.mark.parametrize(
    ("head", "loss", "layer"),
    [
        (networks.classified, "", "pool"),
        (_separate, "", "pool"),
        (_convolution, "", "pool"),
        (_squeezed, "", "body/second"),
        (_binary, "", "hidden"),
        (_flattened, "", "flat"),
        (_two, "", "pool"),
        (_always_dropping, "", "pool"),
        (_linear, "{'class_name': 'SparseCategoricalCrossentropy'}", "pool"),
        (_linear, "categorical_crossentropy", "pool"),
        (_linear, "mse", None),
        (_linear, "", None),
        (pooled, "", None),
        (_nothing, "", None),
    ],
)
def test_the_layer_before_the_classifier(
    head: networks.Build, loss: str, layer: str | None, version: int
) -> None:
    keras = networks.library(version)
    calls = _calls(keras, networks.network(keras, head))
    cut = heads.cut_before_classifier(calls, loss, "model", pools=False)
    assert (cut.call and cut.call.path) == layer
    assert ("classes" in cut.reason) == (layer is not None)
    if layer == "pool":
        whole = heads.cut_before_classifier(calls, loss, "model", pools=True).call
        assert whole is not None
        assert whole.path == "body/second"


def test_layers_are_named_by_themselves_or_by_their_path() -> None:
    keras = networks.library(3)
    layers = keras.layers
    shared = layers.Conv2D(6, 1, name="shared")
    model = networks.network(
        keras, lambda _, x: layers.Conv2D(2, 1, name="first")(shared(shared(x)))
    )
    calls = _calls(keras, model)
    assert [c.path for c in calls.all if c.is_model] == ["body"]
    for name, path in (("second", "body/second"), ("body/first", "body/first"), ("body", "body")):
        call = heads.cut_at(calls, name, "model").call
        assert call is not None
        assert call.path == path
    # The outermost one has its whole path as its name.
    assert heads.cut_at(calls, "first", "model").call is calls.all[-1]
    for name, words in (("shared", "2 times"), ("frist", "no layer 'frist'.*first")):
        with pytest.raises(ModelError, match=words):
            heads.cut_at(calls, name, "model")


def test_outputs_that_differ_and_probabilities_of_no_classifier_are_refused() -> None:
    keras = networks.library(3)
    for head, words in (
        (lambda k, x: [x, pooled(k, x)], "2 outputs.*--layer"),
        (lambda k, x: k.layers.Softmax()(pooled(k, x)), "probabilities.*--layer"),
    ):
        calls = _calls(keras, networks.network(keras, head))
        with pytest.raises(ModelError, match=words):
            heads.cut_before_classifier(calls, "", "model", pools=False)
