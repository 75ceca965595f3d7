"""The sdist that Dataflow's workers install."""

import importlib.metadata
import importlib.util
import pathlib
import tarfile
import tomllib

import pytest

from image_features.models.identity import Engine
from image_features.pipeline import config
from image_features.pipeline.runners import worker_package as package
from tests.engines.dataflow_jobs import ROOT


def test_the_package_is_the_same_each_time(tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = pathlib.Path(package.worker_sdist(Engine.LITERT, str(tmp_path / name)))
        made.append(path.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(path) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        f"image_features/{file.relative_to(ROOT)}"
        for folder in ("pipeline", "transforms", "models")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert sources | {"image_features/__init__.py", "image_features/py.typed"} <= members
    assert not [name for name in members if name.endswith(".npz")]


@pytest.mark.parametrize("installed", [True, False])
def test_a_worker_decodes_what_its_launcher_does(installed, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    names = {line.partition("==")[0] for line in package.worker_requirements(Engine.LITERT)}
    assert {"pillow", "imagecodecs"} <= names
    assert ("pillow-heif" in names) is installed
    assert not names & {"tensorflow", "h5py", "jinja2"}


def test_a_worker_that_exports_has_the_client_of_its_database(monkeypatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    lines = [f'{line}; extra == "{name}"' for name, wanted in extras.items() for line in wanted]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)

    def added(extra):
        base, more = (package.worker_requirements(Engine.LITERT, name) for name in ("", extra))
        return {line.partition("==")[0] for line in more if line not in base}

    assert set(extras) >= config._EXTRAS
    assert added("pgvector") == {"pgvector", "psycopg[binary]"}
    assert added("qdrant") == {"qdrant-client"}
    assert added("lance") == {"pylance"}
