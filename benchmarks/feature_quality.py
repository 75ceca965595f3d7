"""The quality of features as descriptions of what images show.

python -m benchmarks.feature_quality --help

There are two measures on labelled images, both without any training of the network: the accuracy
of a vote of the 20 nearest other images by cosine, and that of a linear classifier by
cross-validation. The mean and the least cosine of two different images tell how much of its range
the features use.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
_NEIGHBOURS = 20
_FOLDS = 5
_PIXELS_SIDE = 32  # Raw pixels as features are then 3072 values.
_TEACHER = "teacher@"


def knn_accuracy(features: Features, labels: Labels, k: int = _NEIGHBOURS) -> float:
    """Computes the share of images whose class is that of most of their nearest other images.

    Args:
      features: The vectors, float32 [count, num_features].
      labels: The classes, int32 [count], from 0.
      k: The number of neighbours by cosine; equal votes go to the more similar ones.
    """
    similarity = _cosines(features)
    np.fill_diagonal(similarity, -np.inf)
    k = min(k, len(labels) - 1)
    nearest = np.argpartition(-similarity, k, axis=1)[:, :k]
    rows = np.arange(len(labels))[:, None]
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    # A similarity is at most 1 in size, so that k of them times 1e-3 never outweigh a vote.
    np.add.at(votes, (rows, labels[nearest]), 1 + 1e-3 * similarity[rows, nearest])
    return float((votes.argmax(axis=1) == labels).mean())


def cosine_range(features: Features) -> tuple[float, float]:
    """Computes the mean and the least cosine of all pairs of different images."""
    count = len(features)
    similarity = _cosines(features)
    pairs = similarity[~np.eye(count, dtype=bool)]
    return float(pairs.mean(dtype=np.float64)), float(pairs.min())


def _cosines(features: Features) -> Features:
    """The cosine of every two vectors, float32 [count, count]."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit @ unit.T


def probe_accuracy(features: Features, labels: Labels) -> float:
    """Computes the accuracy of logistic regression on standardized features, in five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, features, labels, cv=folds).mean())


def _features(model: str, pixels: npt.NDArray[np.uint8]) -> Features:
    """Computes features by a model handle, "pixels" or "teacher@SIZE"."""
    from PIL import Image

    def resized(side: int) -> Iterator[npt.NDArray[np.uint8]]:
        for image in pixels:
            scaled = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
            yield np.asarray(scaled)

    if model == "pixels":
        flat = np.stack(list(resized(_PIXELS_SIDE))).reshape(len(pixels), -1).astype(np.float32)
        return flat - flat.mean(axis=0)
    if model.startswith(_TEACHER):
        from training.teacher import read_weights
        from training.teaching_module import open_teacher

        side = int(model.removeprefix(_TEACHER))
        teacher = open_teacher(read_weights(), side)
        return np.concatenate([teacher.features(i[None] / np.float32(255)) for i in resized(side)])
    from image_features.models.handles import resolve
    from image_features.models.module import FeatureModule

    module = FeatureModule.load(resolve(model).directory)
    return module(np.stack(list(resized(module.image_size[0]))))


def main() -> None:
    """Prints a table, and JSON after it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", required=True, help="Directory of class directories.")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["untrained", "pixels", "builtin"],
        help="Model handles, `pixels`, or teacher@SIZE (extra [train]).",
    )
    parser.add_argument("--no_probe", action="store_true", help="Only the vote of neighbours.")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.views import load_images

    images = load_images(options.images)
    results = {}
    print(f"{'features':<14} {'kNN':>7} {'mean cos':>8} {'min cos':>8} {'probe':>7}")
    for model in options.models:
        features = _features(model, images.pixels)
        mean, least = (round(cosine, 4) for cosine in cosine_range(features))
        knn = round(knn_accuracy(features, images.labels), 4)
        result = {"knn": knn, "mean_cosine": mean, "min_cosine": least}
        if not options.no_probe:
            result["probe"] = round(probe_accuracy(features, images.labels), 4)
        results[model] = result
        probe = result.get("probe", float("nan"))
        print(f"{model:<14} {knn:>7.4f} {mean:>8.4f} {least:>8.4f} {probe:>7.4f}", flush=True)
    print(json.dumps({"images": len(images.labels), "results": results}))


if __name__ == "__main__":
    main()
