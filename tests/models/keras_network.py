"""Keras's own MobileNet V2 with our weights in it."""

from __future__ import annotations

from typing import Any

from image_features.models import mobilenet_v2
from image_features.models.sources.keras_names import keras_names


def keras_network(
    weights: mobilenet_v2.Weights,
    *,
    include_top: bool = False,
    depth_multiplier: float = 0.5,
    image_size: int = 96,
) -> Any:
    """The network of keras.applications; without its top it gives pooled features."""
    import keras

    keras.backend.clear_session()
    extra = {} if include_top else {"pooling": "avg"}
    model = keras.applications.MobileNetV2(
        input_shape=(image_size, image_size, 3),
        alpha=depth_multiplier,
        include_top=include_top,
        weights=None,
        **extra,
    )
    for layer in mobilenet_v2.convolutions(depth_multiplier):
        convolution, normalization = keras_names(layer.scope)
        model.get_layer(convolution).set_weights([weights[layer.weights]])
        model.get_layer(normalization).set_weights(
            [
                weights[f"{layer.scope}/BatchNorm/{key}"]
                for key in ("gamma", "beta", "moving_mean", "moving_variance")
            ]
        )
    return model
