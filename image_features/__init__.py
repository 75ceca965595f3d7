"""Distributed batch image feature extraction with Apache Beam and TensorFlow Hub.

    import image_features

    run = image_features.extract(input="photos/", output="features/")
    for row in image_features.load("features/", batch_size=256):  # a tf.data.Dataset
        row["image/key"], row["image/features"]

Everything public is named here, and imported when it is first used: the import itself takes
neither Beam nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from image_features.errors import (
        CommitError,
        DamagedRunError,
        GuardError,
        ImageFeaturesError,
        ModelError,
        RunFailedError,
        RunHeldError,
        RunNotFoundError,
        UnreadableRunError,
        UnsoundRunError,
        UsageError,
    )
    from image_features.pipeline.dataset.export import Export
    from image_features.pipeline.dataset.pack import Pack
    from image_features.pipeline.dataset.reading import FeatureArrays, load, load_numpy
    from image_features.pipeline.dataset.run import Run
    from image_features.pipeline.library import export, extract, pack, runs
    from image_features.pipeline.search.nearest import Neighbour
    from image_features.pipeline.search.query import search
    from image_features.transforms.decode_images import DecodeImages
    from image_features.transforms.extract_features import ExtractFeatures
    from image_features.transforms.fetch_images import FetchImages, FetchPolicy
    from image_features.transforms.images.decode_error import DecodeError
    from image_features.transforms.images.policy import DecodePolicy
    from image_features.transforms.inference.embeddings import FeatureVectorEmbeddings
    from image_features.transforms.inference.model_handler import FeatureVectorModelHandler
    from image_features.transforms.read_manifest import ReadManifest
    from image_features.transforms.stores.http import HttpPolicy
    from image_features.transforms.stores.retries import FetchError, RetryPolicy
    from image_features.transforms.values import (
        DecodedImage,
        EncodedImage,
        ImageError,
        ImageFeatures,
        ImageRef,
        Reason,
        Stage,
    )

# Where each public name is defined; the block above says the same to type checkers.
_MODULES = {
    "errors": (
        "CommitError",
        "DamagedRunError",
        "GuardError",
        "ImageFeaturesError",
        "ModelError",
        "RunFailedError",
        "RunHeldError",
        "RunNotFoundError",
        "UnreadableRunError",
        "UnsoundRunError",
        "UsageError",
    ),
    "pipeline.dataset.export": ("Export",),
    "pipeline.dataset.pack": ("Pack",),
    "pipeline.dataset.reading": ("FeatureArrays", "load", "load_numpy"),
    "pipeline.dataset.run": ("Run",),
    "pipeline.library": ("export", "extract", "pack", "runs"),
    "pipeline.search.nearest": ("Neighbour",),
    "pipeline.search.query": ("search",),
    "transforms.decode_images": ("DecodeImages",),
    "transforms.extract_features": ("ExtractFeatures",),
    "transforms.fetch_images": ("FetchImages", "FetchPolicy"),
    "transforms.images.decode_error": ("DecodeError",),
    "transforms.images.policy": ("DecodePolicy",),
    "transforms.inference.embeddings": ("FeatureVectorEmbeddings",),
    "transforms.inference.model_handler": ("FeatureVectorModelHandler",),
    "transforms.read_manifest": ("ReadManifest",),
    "transforms.stores.http": ("HttpPolicy",),
    "transforms.stores.retries": ("FetchError", "RetryPolicy"),
    "transforms.values": (
        "DecodedImage",
        "EncodedImage",
        "ImageError",
        "ImageFeatures",
        "ImageRef",
        "Reason",
        "Stage",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
