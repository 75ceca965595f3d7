"""What it means that a module cannot run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from image_features.errors import ModelError
from image_features.models.first_line import first_line

_NO_KERNEL = re.compile(r"No OpKernel was registered to support Op '(\w+)'")
_NO_PLATFORM = re.compile(
    r"platform (\w+) is not among the platforms required .*?\[([^\]]*)\]", re.S
)


def failure_of(error: Exception, directory: str, shape: Sequence[int]) -> ModelError:
    """Returns the error for a module that fails on a batch of images.

    Args:
      error: What TensorFlow raised.
      directory: The directory of the module.
      shape: The shape of the batch, [images, height, width, channels].
    """
    text = str(error)
    if "pyfunc" in text.lower():
        return ModelError(
            f"The model in {directory!r} calls Python code of the program that saved it, which is "
            "not in its files; export it with TensorFlow's operations in the place of "
            "tf.py_function and tf.numpy_function."
        )
    if kernel := _NO_KERNEL.search(text):
        return ModelError(
            f"The model in {directory!r} needs the operation {kernel[1]!r}, which TensorFlow has "
            "for other devices than those of this machine; run it where they are, or export it "
            "without the operation."
        )
    if platform := _NO_PLATFORM.search(text):
        return ModelError(
            f"The model in {directory!r} was exported for {platform[2].lower()}, and this machine "
            f"has {platform[1].lower()}; export it for that platform too, as by jax2tf.convert's "
            "native_serialization_platforms."
        )
    if "NHWC" in text:
        return ModelError(
            f"The model in {directory!r} keeps channels before rows and columns (NCHW), which "
            "TensorFlow computes on GPUs only; run it on one, or export it with channels last."
        )
    return ModelError(
        f"The model in {directory!r} fails on a batch of {shape[0]} images of "
        f"{shape[1]}x{shape[2]} pixels ({first_line(error)}); if that size is wrong, "
        "export the model with the size of its images in its signature."
    )
