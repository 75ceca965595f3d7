"""The objects that a Keras model's description names: checked before Keras makes any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from image_features.errors import ModelError

# Each of them runs what a file brings along: bytecode, another graph, a pickle, a function.
_FOREIGN = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
    | {"StringLookup", "IntegerLookup", "TextVectorization"}
)
_LIBRARIES = ("keras", "tf_keras")
_FUNCTION_MODULES = frozenset(
    f"{library}.{name}"
    for library in _LIBRARIES
    for name in ("activations", "initializers", "regularizers", "constraints", "ops")
)
# TensorFlow's own functions in the graphs of Keras 2; others read files or run code.
_SAFE_SCOPES = ("math", "nn", "linalg", "__operators__")
_SAFE_FUNCTIONS = frozenset(
    name
    for names in (
        "abs add cast clip_by_value concat convert_to_tensor divide exp expand_dims eye fill",
        "broadcast_to gather identity matmul maximum minimum multiply norm ones ones_like pad pow",
        "reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat",
        "reshape reverse roll round shape sigmoid sign slice split sqrt square squeeze stack",
        "stop_gradient strided_slice subtract tanh tensordot tile transpose truediv unstack where",
        "zeros zeros_like compat.v1.shape compat.v1.transpose compat.v1.gather compat.v1.squeeze",
        "compat.v1.depth_to_space compat.v1.space_to_depth image.adjust_brightness",
        "image.adjust_contrast image.central_crop image.convert_image_dtype image.resize",
        "image.crop_to_bounding_box image.flip_left_right image.per_image_standardization",
        "image.grayscale_to_rgb image.resize_with_pad image.rgb_to_grayscale",
    )
    for name in names.split()
)
_TENSORFLOW_CALLS = frozenset({"TFOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"})


def check_objects(description: Any, path: str, *, legacy: bool) -> None:
    """Makes sure that a model's description names nothing but Keras's own harmless classes.

    Args:
      description: The model's configuration, parsed from JSON.
      path: The file that it is in, for messages.
      legacy: Whether Keras 2 or 1 has written it; they name classes without their modules.

    Raises:
      ModelError: A layer is custom, or brings code along.
    """
    for node, layer in _nodes(description):
        kind = node["class_name"]
        where = f"its layer {layer!r} of the class {kind!r}" if layer else f"its class {kind!r}"
        if kind in _FOREIGN:
            raise ModelError(
                f"The Keras model {path!r} is not loaded, as {where} brings code or files of its "
                "own along; make the model anew with layers of Keras in its place, or give its "
                "weights to the same network without it, and save that."
            )
        if kind in _TENSORFLOW_CALLS:
            _check_function(str(node.get("config", {}).get("function", "")), where, path)
        elif not _is_kerass(node, legacy=legacy):
            module = f" from {node['module']!r}" if node.get("module") else ""
            raise ModelError(
                f"The Keras model {path!r} is not loaded, as {where}{module} is custom: it is not "
                "part of Keras, and its code is not in the file; where that code is, call "
                "model.export(DIR) and convert the directory."
            )


def _check_function(name: str, where: str, path: str) -> None:
    if name.split(".")[0] not in _SAFE_SCOPES and name not in _SAFE_FUNCTIONS:
        raise ModelError(
            f"The Keras model {path!r} is not loaded, as {where} calls TensorFlow's {name!r}, "
            "which is none of the functions that a file may name; where the model was made, call "
            "model.export(DIR) and convert the directory."
        )


def _is_kerass(node: dict[str, Any], *, legacy: bool) -> bool:
    kind, module = str(node["class_name"]), str(node.get("module") or "")
    if ">" in str(node.get("registered_name") or "") or ">" in kind:
        return False
    if kind == "function":
        return module == "builtins" or module in _FUNCTION_MODULES
    if module and module != "builtins":
        return module.split(".")[0] in _LIBRARIES
    return kind.startswith("__") or not legacy or _is_known(kind)


def _is_known(kind: str) -> bool:
    """Whether Keras 2 has a class of this name."""
    import tf_keras

    homes = (
        tf_keras.layers,
        tf_keras.models,
        tf_keras.initializers,
        tf_keras.regularizers,
        tf_keras.constraints,
        tf_keras.mixed_precision,
    )
    inner = ("Functional", "SlicingOpLambda", "PolicyV1", "TensorShape", "CompositeTensor")
    return kind in inner or any(hasattr(home, kind) for home in homes)


def _nodes(description: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Gives every object that is described, with the name of the layer that it is, or is in."""
    left: list[tuple[Any, str]] = [(description, "")]
    while left:
        value, layer = left.pop()
        if isinstance(value, dict):
            config = value.get("config")
            if "class_name" in value:
                name = config.get("name") if isinstance(config, dict) else None
                layer = str(name or layer)
                yield {**value, "class_name": str(value["class_name"])}, layer
            left += [(inner, layer) for inner in value.values()]
        elif isinstance(value, list):
            left += [(inner, layer) for inner in value]


def parse(text: str | bytes, path: str) -> Any:
    """Parses a description in JSON.

    Raises:
      ModelError: It is no JSON, or is nested more deeply than any model.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"The Keras model {path!r} has a description that cannot be read ({error}); get the "
            "file afresh."
        ) from error
