"""What all tests share: the cache of modules, and the modules that take seconds to export.

Processes of one session share them too, so that each module is exported and compiled once.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

from image_features.pipeline.process import limit_garbage_collection

# How long an example takes says something about the machine that others use at the same time.
hypothesis.settings.register_profile(
    "shared_machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared_machine")

# The console script does it too: what Beam and TensorFlow import stays.
limit_garbage_collection()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory that all processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    path = base / "shared"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="session", autouse=True)
def module_cache(shared: pathlib.Path) -> Iterator[pathlib.Path]:
    """The cache of modules, so that the tests leave the user's alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGE_FEATURES_CACHE", str(shared / "modules"))
        yield shared / "modules"


@pytest.fixture
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A cache of modules for one test; the directory does not exist yet."""
    path = tmp_path / "cache"
    monkeypatch.setenv("IMAGE_FEATURES_CACHE", str(path))
    return path


@pytest.fixture(scope="session")
def weights() -> Any:
    """Seeded weights with moving statistics that are not the neutral ones."""
    from image_features.models import mobilenet_v2

    weights = mobilenet_v2.seeded_weights(seed=7)
    stream = np.random.RandomState(1)
    for name, value in weights.items():
        if name.endswith(("/beta", "/moving_mean")):
            value += 0.1 * stream.standard_normal(value.shape).astype(np.float32)
        elif name.endswith(("/gamma", "/moving_variance")):
            value *= stream.uniform(0.8, 1.2, value.shape).astype(np.float32)
    return weights


def _made_once(path: pathlib.Path, make: Callable[[str], None]) -> str:
    """A directory that is made by the first process that asks for it."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(str(path))
    return str(path)


@pytest.fixture(scope="session")
def tf1_dir(weights: Any, shared: pathlib.Path) -> str:
    """The network with the seeded weights, as a TF1 Hub module."""
    from image_features.models.export import export_tf1_hub

    return _made_once(shared / "tf1", lambda path: export_tf1_hub(weights, path))


@pytest.fixture(scope="session")
def tf2_dir(weights: Any, shared: pathlib.Path) -> str:
    """The same as a TF2 SavedModel."""
    from image_features.models.export import export_tf2

    return _made_once(shared / "tf2", lambda path: export_tf2(weights, path))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL with pgvector.

    Where tests run as root it has a user of its own, who may not look into pytest's directories.
    """
    from tests.postgres import Postgres

    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(pathlib.Path(directory))
        yield server
        server.close()


@pytest.fixture
def database(postgres: Any) -> Any:
    """A new database of it."""
    return postgres.create()
