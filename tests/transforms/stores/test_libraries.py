"""What a scheme needs that is not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from image_features.pipeline.cli import main as cli
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.fetcher import Fetcher
from image_features.transforms.stores import libraries
from image_features.transforms.values import ImageRef, Reason
from tests import datasets, images

_WITHOUT = """
import sys


class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("boto3", "hdfs", "azure") or name.startswith("google.cloud.st"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Without())
"""


@pytest.fixture
def without_extras(monkeypatch):
    """Lets no library of a store be found, whatever the environment has."""
    monkeypatch.setattr(libraries, "_is_installed", lambda module: False)
    libraries._missing.cache_clear()
    yield
    libraries._missing.cache_clear()


def test_each_store_names_what_installs_its_library(without_extras):
    for location, extra in {
        "gs://b/o": "pip install 'image-feature-extractor[gcp]'",
        "S3://b/o": "pip install 'apache-beam[aws]==",
        "hdfs://b/o": "pip install 'apache-beam[hadoop]==",
        "azfs://b/o": "pip install 'apache-beam[azure]==",
    }.items():
        assert extra in libraries.missing(location)
        row = Fetcher(FetchPolicy()).fetch(ImageRef(location, "k"))
        assert (row.reason, extra in row.message) == (Reason.MISSING_LIBRARY, True)
    assert not any(map(libraries.missing, ("/a", "http://b/o", "ftp://b/o", "", "x" * 10**7)))


def test_the_launch_names_the_library_that_a_row_needs(without_extras, tmp_path, capsys):
    image = images.write_noise(tmp_path / "photos", 1) / "0.jpg"
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"uri\n{image}\ns3://b/a.jpg\n")
    out = tmp_path / "out"
    for arguments in (
        [f"--input={manifest}", f"--output={out}"],
        [f"--input={manifest}", "--output=gs://b/out"],
        ["--input=hdfs://b/photos", f"--output={out}"],
        [f"--input={manifest}", f"--output={out}", "--model=gs://b/m"],
    ):
        assert cli.main(["extract", *arguments]) == 2
        assert "which is not installed: pip install '" in capsys.readouterr().err
    for command in ("inspect", "compact", "gc", "report"):
        assert cli.main([command, "gs://b/out"]) == 2
        assert "pip install 'image-feature-extractor[gcp]'" in capsys.readouterr().err
    assert not list(out.glob("*"))


def test_a_library_that_a_later_row_needs_stops_the_commit(without_extras, tmp_path, capsys):
    image = images.write_noise(tmp_path / "photos", 1) / "0.jpg"
    manifest = tmp_path / "m.txt"
    rows = [image, *(f"{tmp_path}/no-{i}.jpg" for i in range(1000)), "s3://b/a.jpg", "ftp://b/a"]
    manifest.write_text("\n".join(map(str, rows)))
    assert not (datasets.extract(manifest, tmp_path / "out", "run", code=5) / "run.json").exists()
    said = capsys.readouterr().err
    assert "1 rows need a library that is not installed" in said
    assert "1 missing_library; s3:// needs boto3" in said


def test_a_library_that_cannot_be_imported_is_missing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT)
    code = (
        "from image_features.transforms.stores.libraries import missing\n"
        "print(*[bool(missing(f'{s}://b')) for s in ('gs', 's3', 'hdfs', 'azfs')])"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")]), os.getcwd()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
