"""The map of a dataset's vectors: by UMAP if it is installed, else by principal components."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from typing import cast

import numpy as np

from image_features.models.quiet import import_tensorflow
from image_features.pipeline.dataset.records import Floats

_NEIGHBOURS = 15


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """A map of rows.

    Attributes:
      points: The place of each row, float32 [rows, 2].
      method: A phrase that names how the map was drawn.
    """

    points: Floats
    method: str


def draw_map(vectors: Floats) -> FeatureMap:
    """Places vectors of length one so that similar ones are near each other."""
    if len(vectors) > 2 * _NEIGHBOURS and importlib.util.find_spec("umap") is not None:
        return FeatureMap(_umap(vectors), "UMAP of the cosine distances")
    points, explained = principal_components(vectors)
    share = f"{explained[0]:.0%} and {explained[1]:.0%} of the variance"
    return FeatureMap(points, f"the first two principal components, {share}")


def principal_components(vectors: Floats) -> tuple[Floats, tuple[float, float]]:
    """Computes the first two principal components, and their parts of the variance.

    The signs are chosen such that the same vectors always give the same map.

    Args:
      vectors: The rows, float32 [rows, num_features].

    Returns:
      The places of the rows, float32 [rows, 2], and the two parts of the variance.
    """
    points = np.zeros((len(vectors), 2), np.float32)
    if len(vectors) < 2:
        return points, (0.0, 0.0)
    centred = vectors - vectors.mean(axis=0)
    few = len(centred) < centred.shape[1]
    # Two symmetric matrices have these eigenvalues; the smaller one is cheaper.
    values, axes = np.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    explained = []
    for component in range(min(2, len(values))):
        value, axis = max(0.0, float(values[-1 - component])), axes[:, -1 - component]
        column = axis * np.sqrt(value) if few else centred @ axis
        points[:, component] = column * (np.sign(column[np.argmax(np.abs(column))]) or 1)
        explained.append(value)
    total = float((centred**2).sum()) or 1.0
    parts = [*(value / total for value in explained), 0.0]
    return points, (parts[0], parts[1])


def _umap(vectors: Floats) -> Floats:
    import_tensorflow()  # UMAP would import it with all of its messages.
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP warns that with a seed it runs on one thread.
        reducer = umap.UMAP(n_neighbors=_NEIGHBOURS, metric="cosine", random_state=0)
        return cast(Floats, np.asarray(reducer.fit_transform(vectors), np.float32))
