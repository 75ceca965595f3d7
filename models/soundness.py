"""What a module is asked before it is used: for the same answer twice, and for features."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.failures import failure_of
from image_features.models.graphs import Graph
from image_features.models.verify import by_dimension, synthetic_images

if TYPE_CHECKING:
    from image_features.models.module import FeatureModule

Features = npt.NDArray[np.float32]
Order = npt.NDArray[np.intp]

_BATCH = 8
_IMAGES = 16
# A flip leaves half of the images as they are, so that chance is asked about many.
_MORE_IMAGES = 64
# Float32 sums in another order differ by less.
_NOISE = 1e-3
_SUM_NOISE = 5e-3  # Half precision rounds each of a thousand probabilities.
_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})


def examine(module: FeatureModule) -> bool:
    """Asks a module twice about the same images, in other company the second time.

    Args:
      module: The module.

    Returns:
      Whether it gives the probabilities of classes, or their logarithms, and no features.

    Raises:
      ModelError: It does not give the same features again.
    """
    try:
        return _examine(module)
    except ModelError:
        raise
    except Exception as error:  # TensorFlow raises many types here.
        raise failure_of(error, module.directory, [_BATCH, *module.image_size, 3]) from error


def _examine(module: FeatureModule) -> bool:
    import tensorflow as tf

    function, owner = module.on_pixels(_BATCH)
    graph = Graph(function)
    batch = int(function.inputs[0].shape[0])
    count = max(_MORE_IMAGES if graph.random_operations else _IMAGES, 2 * batch)
    count += -count % batch
    images = synthetic_images(*module.image_size, _IMAGES)

    def run(order: Order) -> Features:
        numbers = [order[start : start + batch] % _IMAGES for start in range(0, count, batch)]
        rows = np.concatenate([function(tf.constant(images[n])).numpy() for n in numbers])
        features = np.empty_like(rows)
        features[order] = np.nan_to_num(rows)
        return features

    first = run(np.arange(count))
    _check_repeats(first, run, module.directory, graph)
    del owner  # It had to live as long as the function.
    return graph.last_operation in _SOFTMAX or are_probabilities(first)


def _check_repeats(
    first: Features, run: Callable[[Order], Features], directory: str, graph: Graph
) -> None:
    """Compares with the features of the same images, whose batches have other images too."""
    order = np.arange(len(first))
    mixed = np.concatenate([order[1::2], order[::2]])[::-1]
    if by_dimension(run(mixed), first).max() <= _NOISE:
        return
    drawn = graph.random_operations
    if by_dimension(run(order), first).max() <= _NOISE:
        why = (
            "an image's features depend on the other images of its batch, as they do where batch "
            "normalization is left in training"
        )
    elif drawn:
        why = (
            "it answers twice differently for the same images, as its graph draws random numbers "
            f"({_listed(drawn)})"
        )
    else:
        why = "it answers twice differently for the same images, as it changes while it runs"
    raise ModelError(
        f"The model in {directory!r} gives no features that can be repeated: {why}; export it "
        "with training=False, or make a module of its .keras file with `image-features model "
        "convert`."
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def are_probabilities(features: Features) -> bool:
    """Whether all rows are probabilities of several classes, or the logarithms of such."""
    values = features.astype(np.float64)
    if values.shape[1] < 2:
        return False
    if (values <= 0).all():
        values = np.exp(values)
    sums = values.sum(axis=1)
    return bool((values >= 0).all() and (np.abs(sums - 1) <= _SUM_NOISE).all())
