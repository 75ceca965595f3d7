"""Accelerators: which there are, and one copy of a module on each of them."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from image_features.models.module import FeatureModule

_log = logging.getLogger(__name__)
# While one batch computes, the next one is copied to the device.
_BATCHES_PER_DEVICE = 2


class ModulePerDevice:
    """Spreads batches over devices; each has a copy of the module and two batches at once.

    Attributes:
      parallelism: Calls worth making at once.
    """

    def __init__(self, load: Callable[[str], FeatureModule], devices: Sequence[str]) -> None:
        """Loads the module once for every device, by its TensorFlow name."""
        self._free: queue.Queue[FeatureModule] = queue.Queue()
        modules = [load(device) for device in devices]
        self.parallelism: int | None = _BATCHES_PER_DEVICE * len(modules)
        for module in modules * _BATCHES_PER_DEVICE:
            self._free.put(module)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `FeatureModule.__call__`, on the device that has been free for longest."""
        module = self._free.get()
        try:
            return module(pixels)
        finally:
            self._free.put(module)


def find_gpus(*, mixed_precision: bool) -> list[str]:
    """The names of the GPUs that TensorFlow sees, set up to share their memory.

    Must come before TensorFlow's first operation to take full effect: it would otherwise take
    all memory of every device for itself.

    Args:
      mixed_precision: Whether graphs are rewritten to compute in half precision where that is
        safe (Micikevicius et al., "Mixed Precision Training", ICLR 2018, and TensorFlow's
        auto_mixed_precision pass); GPUs only.
    """
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError as error:
            _log.warning("TensorFlow has started and keeps the memory of %s: %s", device, error)
    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    if mixed_precision and names:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision": True})
    elif mixed_precision:
        _log.warning("There is no GPU here, so that --precision=float16 computes in float32.")
    return names
