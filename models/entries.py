"""The ways to call a loaded SavedModel: which takes images, and which output has the features."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from image_features.errors import ModelError

SIGNATURE_ORDER = ("image_feature_vector", "default", "serving_default")
OUTPUT_ORDER = ("default", "feature_vector")
# The names of arguments that say whether a model trains: training, is_training, train.
_TRAINING = re.compile(r"(^|_)train(ing)?$")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One way to call a model.

    Attributes:
      name: "__call__" or the name of a signature.
      call: The function from float32 images [batch, height, width, 3] to a tensor or a dict of
        tensors.
      spec: The tf.TensorSpec of the images; None if the callable states none.
    """

    name: str
    call: Callable[[Any], Any]
    spec: Any

    @property
    def fixed_batch(self) -> int | None:
        """The number of images in a batch, if the model takes no other number."""
        if self.spec is None or self.spec.shape.rank is None:
            return None
        batch: int | None = self.spec.shape[0]
        return batch


def find_entries(loaded: Any, directory: str, *, any_type: bool = False) -> list[Entry]:
    """Finds the ways to call a model on images, best first: its `__call__`, then its signatures.

    Args:
      loaded: The object that tf.saved_model.load gave.
      directory: The directory of the model, for messages.
      any_type: Whether images of other types than float32, and of other shapes, will do.

    Raises:
      ModelError: Nothing in it takes a batch of float images.
    """
    entries = list(_callable_entries(loaded))
    signatures: Mapping[str, Any] = getattr(loaded, "signatures", {})
    for name in SIGNATURE_ORDER:
        if name in signatures:
            entries.extend(_signature_entries(name, signatures[name]))
    usable = [entry for entry in entries if entry.spec is None or takes_images(entry.spec)]
    if usable or (entries and any_type):
        return usable or entries
    if entries:
        spec = entries[0].spec
        raise ModelError(
            f"The model in {directory!r} is not an image feature vector model: "
            f"{entries[0].name!r} takes {describe_spec(spec)}, not float32 images "
            "[batch, height, width, 3]; choose an image feature vector module."
        )
    if any(_is_training(_arguments(concrete)) for concrete in _traces(loaded)):
        raise ModelError(
            f"The model in {directory!r} can only be called in training, in which it learns and "
            "drops at random what it computes; export it with training=False."
        )
    found = ", ".join(map(repr, signature_names(loaded))) or "none"
    raise ModelError(
        f"The model in {directory!r} is not an image feature vector model: it cannot be called "
        f"on one input, and of the signatures {', '.join(SIGNATURE_ORDER)} it has none that "
        f"can (found: {found}); choose an image feature vector module."
    )


def signature_names(loaded: Any) -> tuple[str, ...]:
    """Returns the names of a model's signatures, sorted, without those of TensorFlow's own."""
    names = getattr(loaded, "signatures", ())
    return tuple(sorted(name for name in names if not name.startswith("__saved_model")))


def takes_images(spec: Any) -> bool:
    """Whether a tf.TensorSpec fits float32 [batch, height, width, 3]."""
    return spec.dtype.name == "float32" and bool(
        spec.shape.is_compatible_with([None, None, None, 3])
    )


def describe_spec(spec: Any) -> str:
    """Puts a tf.TensorSpec in words, such as "string [None]"."""
    shape = "of unknown rank" if spec.shape.rank is None else str(spec.shape.as_list())
    return f"{spec.dtype.name} {shape}"


def _signature_entries(name: str, function: Any) -> Iterator[Entry]:
    inputs: dict[str, Any] = function.structured_input_signature[1]
    images = [key for key, spec in inputs.items() if not _is_switch(key, spec)]
    if len(images) == 1:
        yield _entry(name, function, inputs, images[0])


def _callable_entries(loaded: Any) -> Iterator[Entry]:
    """Gives an entry for each spec that a reusable SavedModel's `__call__` was traced with."""
    seen: list[Any] = []
    for concrete in _traces(loaded):
        arguments = _arguments(concrete)
        tensors = [name for name, value in arguments.items() if _is_tensor(value)]
        images, *others = [n for n in tensors if not _is_switch(n, arguments[n])] or [""]
        if not images or arguments[images] in seen or _is_training(arguments):
            continue
        if all(_has_default(loaded.__call__, name) for name in others):
            seen.append(arguments[images])
            given = {name: value for name, value in arguments.items() if name not in others}
            yield _entry("__call__", loaded, given, images)


def _traces(loaded: Any) -> list[Any]:
    return list(getattr(loaded.__call__, "concrete_functions", [])) if callable(loaded) else []


def _has_default(function: Any, name: str) -> bool:
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is not inspect.Parameter.empty


def _arguments(concrete: Any) -> dict[str, Any]:
    """Returns what a function was traced with, by name: specs of tensors, and plain values."""
    positional, keywords = concrete.structured_input_signature
    names = concrete.function_type.parameters
    return {**dict(zip(names, positional, strict=False)), **keywords}


def _entry(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any], images: str
) -> Entry:
    """Makes the entry that calls a function as it was traced, and not in training."""
    others = {
        key: False if _is_tensor(value) else value
        for key, value in arguments.items()
        if key != images
    }
    return Entry(name, lambda batch: function(**{images: batch}, **others), arguments[images])


def _is_tensor(value: Any) -> bool:
    import tensorflow as tf

    return isinstance(value, tf.TensorSpec)


def _is_switch(name: str, spec: Any) -> bool:
    """Whether a tensor says if the model trains, as the argument `training` does."""
    return bool(_TRAINING.search(name)) and spec.dtype.name == "bool" and spec.shape.rank == 0


def _is_training(arguments: Mapping[str, Any]) -> bool:
    """Whether a function was traced to train."""
    return any(value is True and _TRAINING.search(name) for name, value in arguments.items())


def image_size_of(entry: Entry, directory: str) -> tuple[int, int] | None:
    """Returns the (height, width) in pixels that an entry states, None if it takes any.

    Raises:
      ModelError: The entry fixes one of the two only.
    """
    if entry.spec is None or entry.spec.shape.rank is None:
        return None
    height, width = entry.spec.shape[1], entry.spec.shape[2]
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ModelError(
            f"The model in {directory!r} takes {describe_spec(entry.spec)}, which fixes only one "
            "side of its images; export it with both sides fixed, or with neither."
        )
    return (height, width)


def stated_image_size(loaded: Any, directory: str) -> tuple[int, int] | None:
    """Returns the (height, width) in pixels that a loaded model states, None if it takes any.

    Raises:
      ModelError: The model has no way to be called with images.
    """
    return image_size_of(find_entries(loaded, directory)[0], directory)


def pick_output(output: Any, directory: str) -> Any:
    """Picks the feature vectors from what a model gave.

    They are the output "default" or "feature_vector" or the only one; [batch, 1, 1, features]
    loses its two singular axes.

    Args:
      output: A symbolic or eager tensor, or a dict or sequence of them.
      directory: The directory of the model, for messages.

    Returns:
      A tensor, float32 [batch, features].

    Raises:
      ModelError: There are several outputs, or they are not feature vectors.
    """
    import tensorflow as tf

    named: dict[str, Any]
    if isinstance(output, Mapping):
        named = dict(output)
    elif isinstance(output, (list, tuple)):
        named = {str(index): item for index, item in enumerate(output)}
    else:
        named = {"default": output}
    key = next((key for key in OUTPUT_ORDER if key in named), None)
    if key is None and len(named) == 1:
        key = next(iter(named))
    if key is None:
        raise ModelError(
            f"The model in {directory!r} is not an image feature vector model: it has the outputs "
            f"{', '.join(map(repr, sorted(named)))} and none is called 'default' or "
            "'feature_vector'; choose an image feature vector module."
        )
    tensor = named[key]
    if not isinstance(tensor, tf.Tensor) or not tensor.dtype.is_floating:
        kind = getattr(getattr(tensor, "dtype", None), "name", type(tensor).__name__)
        raise ModelError(
            f"The model in {directory!r} is not an image feature vector model: its output {key!r} "
            f"is {kind}, not floating point; choose an image feature vector module."
        )
    if tensor.shape.rank == 4 and tensor.shape[1:3].as_list() == [1, 1]:
        tensor = tf.squeeze(tensor, axis=[1, 2])
    if tensor.shape.rank != 2 or tensor.shape[1] is None:
        raise ModelError(
            f"The model in {directory!r} is not an image feature vector model: its output {key!r} "
            f"has shape {tensor.shape}, not [batch, features]; choose a module that pools its "
            "feature map."
        )
    return tf.cast(tensor, tf.float32)
