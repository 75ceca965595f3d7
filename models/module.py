"""A feature model that TensorFlow runs: uint8 images in, float32 feature vectors out."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.batches import Features, FixedBatches, Pixels
from image_features.models.entries import (
    Entry,
    find_entries,
    image_size_of,
    pick_output,
    signature_names,
)
from image_features.models.failures import failure_of
from image_features.models.first_line import first_line
from image_features.models.metadata import read_metadata
from image_features.models.misfits import why_no_module
from image_features.models.saved_model_files import (
    Format,
    check_files,
    check_graph,
    choose_graph,
    find_damage,
    has_graph,
    read_graph,
)
from image_features.models.scaling import Scaling

DEFAULT_BATCH_SIZE = 32
DEFAULT_IMAGE_SIZE = 224  # The size that most published image modules expect.

_log = logging.getLogger(__name__)


def load_saved_model(directory: str) -> tuple[Any, Format]:
    """Loads a SavedModel for inference; returns it with its format.

    Raises:
      ModelError: There is no SavedModel, it is not whole, or TensorFlow cannot load it.
    """
    import tensorflow as tf

    if not has_graph(directory):
        raise ModelError(why_no_module(directory, directory))
    check_files(directory, directory)
    graph, format = choose_graph(read_graph(directory), directory)
    check_graph(graph, directory)
    tags = None if format == "tf2_saved_model" else list(graph.meta_info_def.tags)
    try:
        return tf.saved_model.load(directory, tags=tags), format
    except Exception as error:
        damaged = os.path.isdir(os.path.join(directory, "variables")) and find_damage(directory)
        if damaged:
            raise ModelError(
                f"The model {directory!r} is not whole: {damaged} is cut short or damaged; copy it "
                "afresh."
            ) from error
        raise ModelError(
            f"TensorFlow {tf.__version__} cannot load the SavedModel in {directory!r} "
            f"({first_line(error)}); copy it afresh, or export it again."
        ) from error


class FeatureModule(FixedBatches):
    """An image feature vector model with batches of one fixed size.

    A call cuts its images into batches of exactly `batch_size`, the last one padded with zeros,
    so that the kernels TensorFlow picks, and with them the bytes of an image's features, do not
    depend on how many images came along.

    Attributes:
      directory: The directory that it was loaded from.
      format: "tf1_hub", "tf1_saved_model" or "tf2_saved_model".
      image_size: (height, width) of the images in pixels.
      num_features: The length of a feature vector.
      scaling: What becomes of pixels before the model sees them.
      batch_size: The number of images in one run of the network.
      signatures: The names of its signatures, sorted.
      entry: "__call__" or the name of the signature that runs.
      frozen: Whether the variables were folded into the graph as constants.
    """

    def __init__(
        self,
        loaded: Any,
        entry: Entry,
        directory: str,
        format: Format,
        image_size: tuple[int, int],
        batch_size: int,
        scaling: Scaling,
        device: str | None = None,
    ) -> None:
        """Builds the inference function of one way to call a model; use `load` instead."""
        self.directory = directory
        self.format: Format = format
        self.image_size = image_size
        self.batch_size = batch_size
        self.scaling = scaling
        self.entry = entry.name
        self.signatures: tuple[str, ...] = signature_names(loaded)
        self._loaded = loaded  # It owns the variables if they are not frozen.
        self._device = device
        self._call, self._fixed_batch = entry.call, entry.fixed_batch
        concrete, trial, expected = self._try(entry)
        self.num_features: int = expected.shape[1]
        self._infer, self.frozen = _freeze(concrete, trial, expected, directory)

    @classmethod
    def load(
        cls,
        directory: str,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        scaling: Scaling | None = None,
        device: str | None = None,
    ) -> FeatureModule:
        """Loads a model and tries it on a batch of zeros and noise.

        Args:
          directory: A local directory with saved_model.pb.
          batch_size: The number of images in a run, unless the model takes one number only.
          scaling: What becomes of pixels; None is what the model says itself, or else [0, 1].
          device: TensorFlow's name of the device to run on; None leaves it to TensorFlow.

        Raises:
          ModelError: The model is not an image feature vector model, or cannot be loaded.
          ValueError: The batch size is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"The batch size must be at least 1, and it is {batch_size}.")
        scaling = scaling or read_metadata(directory).scaling or Scaling()
        with on_device(device):
            loaded, format = load_saved_model(directory)
        failure: ModelError | None = None
        for entry in find_entries(loaded, directory):
            size = image_size_of(entry, directory) or _default_size(directory)
            try:
                batch = entry.fixed_batch or batch_size
                with on_device(device):
                    return cls(loaded, entry, directory, format, size, batch, scaling, device)
            except ModelError as error:
                failure = failure or error
        assert failure is not None  # find_entries gives at least one.
        raise failure

    def _try(self, entry: Entry) -> tuple[Any, npt.NDArray[np.float32], Features]:
        """Traces the model and runs it on zeros and noise; returns function, images, features."""
        import tensorflow as tf

        shape = [self.batch_size, *self.image_size, 3]

        def run(images: Any) -> Any:
            return pick_output(entry.call(images), self.directory)

        pixels = np.zeros(shape, np.uint8)
        pixels[-1] = np.random.RandomState(0).randint(0, 256, shape[1:])
        trial = self.scaling.to_numbers(pixels)
        try:
            concrete = tf.function(run, autograph=False).get_concrete_function(
                tf.TensorSpec(shape, tf.float32, name="images")
            )
            expected = concrete(tf.constant(trial)).numpy()
        except ModelError:
            raise
        except Exception as error:
            raise failure_of(error, self.directory, shape) from error
        if not np.isfinite(expected).all():
            raise ModelError(
                f"The model in {self.directory!r} computes features that are not finite for a "
                "plain image; its weights are damaged, so copy or export it again."
            )
        return concrete, trial, expected

    def _run(self, batch: Pixels) -> Features:
        import tensorflow as tf

        images = self.scaling.to_numbers(batch)
        with on_device(self._device):
            result: Features = self._infer(tf.constant(images)).numpy()
        return result

    def on_pixels(self, batch_size: int) -> tuple[Any, Any]:
        """Traces the network for a compiler.

        Args:
          batch_size: The number of images in a run, unless the model takes one number only.

        Returns:
          A concrete function from uint8 pixels [batch_size, height, width, 3] to float32
          features, and the object that owns its variables.
        """
        import tensorflow as tf

        def run(pixels: Any) -> Any:
            return pick_output(self._call(self.scaling.to_tensor(pixels)), self.directory)

        shape = [self._fixed_batch or batch_size, *self.image_size, 3]
        spec = tf.TensorSpec(shape, tf.uint8, name="pixels")
        return tf.function(run, autograph=False).get_concrete_function(spec), self._loaded


def on_device(name: str | None) -> contextlib.AbstractContextManager[Any]:
    """Opens the scope of a TensorFlow device; None leaves the choice to TensorFlow."""
    import tensorflow as tf

    return contextlib.nullcontext() if name is None else tf.device(name)


def _default_size(directory: str) -> tuple[int, int]:
    """Returns, and logs, the image size of a model that states none."""
    _log.info(
        "The model in %r states no image size; using %d pixels.", directory, DEFAULT_IMAGE_SIZE
    )
    return (DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE)


def _freeze(
    concrete: Any, trial: npt.NDArray[np.float32], expected: Features, directory: str
) -> tuple[Callable[[Any], Any], bool]:
    """Folds variables into constants, unless that changes what comes out.

    Returns:
      The function to call, and whether its variables are folded.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    try:
        frozen = convert_variables_to_constants_v2(concrete)
        images = tf.constant(trial)

        def infer(batch: Any) -> Any:
            return frozen(batch)[0]

        if np.allclose(infer(images).numpy(), expected, rtol=1e-3, atol=1e-4):
            return infer, True
        reason = "its outputs change"
    except Exception as error:  # TensorFlow raises many types here; the plain function works.
        reason = first_line(error)
    _log.info("The model in %r runs without constant folding: %s.", directory, reason)
    return concrete, False
