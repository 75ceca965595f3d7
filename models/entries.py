"""The ways to call a loaded SavedModel: which takes images, and which output has the features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from image_features.errors import ModelError

SIGNATURE_ORDER = ("image_feature_vector", "default", "serving_default")
OUTPUT_ORDER = ("default", "feature_vector")


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
    found = ", ".join(repr(name) for name in signatures) or "none"
    raise ModelError(
        f"The model in {directory!r} is not an image feature vector model: it cannot be called "
        f"on one input, and of the signatures {', '.join(SIGNATURE_ORDER)} it has none that "
        f"can (found: {found}); choose an image feature vector module."
    )


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
    if len(inputs) == 1:
        ((key, spec),) = inputs.items()
        yield Entry(name, lambda images: function(**{key: images}), spec)


def _callable_entries(loaded: Any) -> Iterator[Entry]:
    """Gives an entry for each spec that a reusable SavedModel's `__call__` was traced with."""
    import tensorflow as tf

    if not callable(loaded):
        return
    seen: list[Any] = []
    for concrete in getattr(loaded.__call__, "concrete_functions", []):
        positional, keywords = concrete.structured_input_signature
        spec = positional[0] if positional else None
        training = keywords.get("training", positional[1] if len(positional) > 1 else False)
        if not isinstance(spec, tf.TensorSpec) or training is True or spec in seen:
            continue
        seen.append(spec)

        def call(images: Any) -> Any:
            try:
                return loaded(images, training=False)
            except (TypeError, ValueError):
                return loaded(images)  # It was traced without the argument.

        yield Entry("__call__", call, spec)


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
