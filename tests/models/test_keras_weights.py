"""Round trips through the files that Keras writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_features.models import mobilenet_v2
from image_features.models.weights import read_weights
from tests.models.arrays import assert_same
from tests.models.keras_network import keras_network


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_keras_weights(
    weights: mobilenet_v2.Weights, tmp_path: Path, include_top: bool, suffix: str
) -> None:
    top = "" if include_top else "_no_top"
    path = str(tmp_path / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_96{top}{suffix}")
    model = keras_network(weights, include_top=include_top)
    if suffix == ".h5":
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    else:
        model.save_weights(path)
    found = read_weights(path)
    assert (found.depth_multiplier, found.image_size) == (0.5, 96)
    assert_same(found.arrays, weights)


def test_whole_keras_model(weights: mobilenet_v2.Weights, tmp_path: Path) -> None:
    path = str(tmp_path / "model.h5")
    keras_network(weights, include_top=False).save(path)
    found = read_weights(path)
    assert found.image_size == 96
    assert_same(found.arrays, weights)
