"""What is said of a module."""

from __future__ import annotations

from image_features.models.describe import describe
from image_features.models.files import content_hash


def test_describe(tf1_dir: str) -> None:
    assert describe(tf1_dir) == {
        "handle": tf1_dir,
        "directory": tf1_dir,
        "format": "tf1_hub",
        "signatures": [
            "default",
            "image_feature_vector",
            "image_feature_vector_with_bn_hparams",
        ],
        "entry": "image_feature_vector",
        "image_size": [96, 96],
        "input_range": [0.0, 1.0],
        "input_range_declared_by": "hub",
        "num_features": 1280,
        "parameters": 706_224,
        "content_hash": content_hash(tf1_dir),
    }
