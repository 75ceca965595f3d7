"""Exported modules that the tests of this folder share."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from image_features.models import export, mobilenet_v2
from image_features.models.handles import CACHE_VARIABLE
from image_features.models.module import FeatureModule

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="package", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The modules' cache of this folder's tests, so that each module is compiled once."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(path))
        yield path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for one test; the directory does not exist yet."""
    path = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(path))
    return path


@pytest.fixture(scope="session")
def weights() -> mobilenet_v2.Weights:
    """Seeded weights with moving statistics that are not the neutral ones."""
    weights = mobilenet_v2.seeded_weights(seed=7)
    stream = np.random.RandomState(1)
    for name, value in weights.items():
        if name.endswith(("/beta", "/moving_mean")):
            value += 0.1 * stream.standard_normal(value.shape).astype(np.float32)
        elif name.endswith(("/gamma", "/moving_variance")):
            value *= stream.uniform(0.8, 1.2, value.shape).astype(np.float32)
    return weights


@pytest.fixture(scope="session")
def tf1_dir(weights: mobilenet_v2.Weights, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("tf1") / "module")
    export.export_tf1_hub(weights, directory)
    return directory


@pytest.fixture(scope="session")
def tf2_dir(weights: mobilenet_v2.Weights, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("tf2") / "module")
    export.export_tf2(weights, directory)
    return directory


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
