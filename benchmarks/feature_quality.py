"""How much features say of what an image shows: `python -m benchmarks.feature_quality --help`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
_NEIGHBOURS = 20


def knn_accuracy(features: Features, labels: Labels, k: int = _NEIGHBOURS) -> float:
    """Share of the images whose class is that of most of their nearest other images.

    Args:
      features: float32 [count, num_features].
      labels: int32 [count], from 0.
      k: Number of neighbours by cosine; equal votes go to the more similar ones.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, np.finfo(np.float32).tiny)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, k, axis=1)[:, :k]
    rows = np.arange(len(labels))[:, None]
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    # Similarity is at most 1 in size, so that k of them times 1e-3 never outweigh a vote.
    np.add.at(votes, (rows, labels[nearest]), 1 + 1e-3 * similarity[rows, nearest])
    return float((votes.argmax(axis=1) == labels).mean())
