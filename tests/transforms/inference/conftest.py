"""Images, and the features that the engine gives for them without Beam."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from image_features.models.engines import PreparedModel, load, prepare
from image_features.models.feature_function import FeatureFunction
from tests.images import noise


@pytest.fixture(scope="session")
def prepared() -> PreparedModel:
    return prepare("builtin")


@pytest.fixture(scope="session")
def model(prepared: PreparedModel) -> FeatureFunction:
    return load(prepared)


@pytest.fixture(scope="session")
def pixels() -> npt.NDArray[np.uint8]:
    """41 images at the model's size: more than a batch, and no multiple of one."""
    return np.stack([np.asarray(noise(seed, 96, 96)) for seed in range(41)])


@pytest.fixture(scope="session")
def features(model: FeatureFunction, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The features of `pixels`, each computed alone."""
    return np.stack([model(image[np.newaxis])[0] for image in pixels])
