"""GPUs: finding them, and running a copy of a module on each."""

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
      parallelism: The number of calls worth making at once.
    """

    def __init__(self, load: Callable[[str], FeatureModule], devices: Sequence[str]) -> None:
        """Loads the module once for every device.

        Args:
          load: A function that loads the module onto a device.
          devices: TensorFlow's names of the devices.
        """
        self._free: queue.Queue[FeatureModule] = queue.Queue()
        modules = [load(device) for device in devices]
        self.parallelism: int | None = _BATCHES_PER_DEVICE * len(modules)
        for module in modules * _BATCHES_PER_DEVICE:
            self._free.put(module)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Computes features, as `FeatureModule` does, on the device that was free for longest."""
        module = self._free.get()
        try:
            return module(pixels)
        finally:
            self._free.put(module)


def find_gpus(*, mixed_precision: bool) -> list[str]:
    """Finds the GPUs that TensorFlow sees, and keeps it from taking all of their memory.

    The call must come before TensorFlow's first operation to take full effect.

    Args:
      mixed_precision: Whether graphs are rewritten to compute in half precision where that is
        safe (Micikevicius et al., "Mixed Precision Training", ICLR 2018, and TensorFlow's
        auto_mixed_precision pass); GPUs only.

    Returns:
      TensorFlow's names of the GPUs.
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
