"""The images that a model takes: their size, batch and type, or why it takes none."""

from __future__ import annotations

import dataclasses
from typing import Any

from image_features.errors import ModelError

_MAX_SIDE = 8192  # In pixels; no network is trained on more.


@dataclasses.dataclass(frozen=True, slots=True)
class ImageInput:
    """What a model takes.

    Attributes:
      batch: The number of images in a batch, if only that one is taken.
      size: (height, width) in pixels.
      dtype: TensorFlow's name of the type of the numbers.
    """

    batch: int | None
    size: tuple[int, int]
    dtype: str

    def spec(self) -> Any:
        """Returns the tf.TensorSpec of a module that takes these images as float32."""
        import tensorflow as tf

        return tf.TensorSpec([self.batch, *self.size, 3], tf.float32, name="images")

    def cast(self, images: Any) -> Any:
        """Returns float32 images in the model's own type; integers are rounded to."""
        import tensorflow as tf

        dtype = tf.as_dtype(self.dtype)
        return tf.cast(tf.round(images) if dtype.is_integer else images, dtype)


def image_input(
    shape: list[int | None] | None,
    dtype: str,
    path: str,
    *,
    image_size: int | None,
    resized: tuple[int, int] | None = None,
) -> ImageInput:
    """Makes sure that an input is one of colour images, and settles their size.

    Args:
      shape: The shape that the model states, the batch first; None if it states none.
      dtype: TensorFlow's name of its type.
      path: The model, for messages.
      image_size: The side of the images in pixels, for a model that takes any.
      resized: The size to which the model itself resizes what it takes.

    Raises:
      ModelError: It is no input of images, or its size is not known.
    """
    import tensorflow as tf

    shape = [None, None, None, 3] if shape is None else list(shape)
    if len(shape) != 4 or shape[3] not in (3, None):
        raise ModelError(f"The model {path!r} {_refusal(shape)}")
    kind = tf.as_dtype(dtype)
    if not (kind.is_floating or kind.is_integer):
        raise ModelError(
            f"The model {path!r} takes {dtype}, not the numbers of pixels; export it so that it "
            "takes images [batch, height, width, 3]."
        )
    stated = (shape[1], shape[2])
    if None in stated and image_size is None and (resized is None or stated != (None, None)):
        raise ModelError(
            f"The model {path!r} takes images of any size; pass --image_size with the size that "
            "it was trained for, such as 224."
        )
    other = (image_size, image_size) if image_size else resized or (0, 0)
    size = (stated[0] or other[0], stated[1] or other[1])
    if max(size) > _MAX_SIDE:
        raise ModelError(
            f"The model {path!r} takes images of {size[0]}x{size[1]} pixels, and more than "
            f"{_MAX_SIDE} a side are not supported."
        )
    return ImageInput(shape[0], size, dtype)


def check_size(given: ImageInput, image_size: int | None, path: str) -> None:
    """Raises ModelError if a model takes images of another size than the user's."""
    if image_size and given.size != (image_size, image_size):
        raise ModelError(
            f"The model {path!r} takes images of {given.size[0]}x{given.size[1]} pixels and no "
            "others; leave --image_size out."
        )


def _refusal(shape: list[int | None]) -> str:
    told = f"[{', '.join('any' if n is None else str(n) for n in shape)}]"
    if len(shape) == 4 and shape[1] == 3:
        return (
            f"takes {told}, channels first, as models of other frameworks do; make it anew with "
            "channels last, [batch, height, width, 3], or with a Permute layer in front."
        )
    if len(shape) == 4:
        return (
            f"takes images of {shape[3]} channel{'s' if shape[3] != 1 else ''}, {told}, and "
            "images are given to models in the three of RGB; make it anew with layers in front "
            "that turn these into its own."
        )
    return f"takes {told}, not images [batch, height, width, 3]; choose a model of images."
