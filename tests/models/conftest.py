"""Exported modules that the tests of this folder share."""

from __future__ import annotations

import os
import tarfile

import numpy as np
import numpy.typing as npt
import pytest

from image_features.models.module import FeatureModule

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def tf1_module(tf1_dir: str) -> FeatureModule:
    return FeatureModule.load(tf1_dir)


@pytest.fixture(scope="session")
def archive(tf1_dir: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The TF1 module as a .tar.gz, members at the top."""
    path = str(tmp_path_factory.mktemp("archive") / "module.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tf1_dir, arcname=".")
    return path


@pytest.fixture(scope="session")
def pixels() -> npt.NDArray[np.uint8]:
    """40 images: noise, flat colours, gradients."""
    stream = np.random.RandomState(3)
    images = stream.randint(0, 256, (40, 96, 96, 3)).astype(np.uint8)
    images[10:20] = stream.randint(0, 256, (10, 1, 1, 3))
    images[20:30] = np.linspace(0, 255, 96).astype(np.uint8)[:, None, None]
    images[20:30] //= np.arange(1, 11, dtype=np.uint8)[:, None, None, None]
    return images
