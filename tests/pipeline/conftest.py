from __future__ import annotations

import shutil
import subprocess

import pytest

from tests import datasets, images, tools

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def extract(tmp_path):
    """Runs `extract` in this process; returns the run's directory."""

    def run(input, *options, run_id="run", output=None, code=0):
        return datasets.extract(input, output or tmp_path / "out", run_id, *options, code=code)

    return run


@pytest.fixture
def photos(tmp_path):
    """A directory of nine pictures and a broken file."""
    return images.write_noise(tmp_path / "photos", 9)


@pytest.fixture
def night(extract, photos):
    """Runs one night after the other."""

    def run(name, *options, input=photos, code=0):
        return extract(input, "--incremental", *options, run_id=name, code=code)

    return run


@pytest.fixture(scope="session")
def three_nights(tmp_path_factory):
    """Three nights: a picture changes, one comes, one goes; and a copy of it all."""
    place = tmp_path_factory.mktemp("nights")
    photos, output = images.write_noise(place / "photos", 9), place / "out"
    datasets.extract(photos, output, "1", "--incremental", "--num_shards=3")
    images.write(photos / "new.jpg", 100)
    images.write(photos / "2.jpg", 101)
    datasets.extract(photos, output, "2", "--incremental", "--compression=gzip")
    (photos / "5.jpg").unlink()
    datasets.extract(photos, output, "3", "--incremental", "--tombstone_removed")
    shutil.copytree(place, f"{place}-saved")
    return place


@pytest.fixture
def nights(three_nights):
    """The dataset of three nights as it was, where it was, since it holds its paths."""
    shutil.rmtree(three_nights)
    shutil.copytree(f"{three_nights}-saved", three_nights)
    return three_nights / "out"


@pytest.fixture
def nights_photos(nights):
    """The pictures that the three nights are of."""
    return nights.parent / "photos"


@pytest.fixture
def browse(tmp_path):
    """Opens a page without a network; returns its DOM as HTML, or a picture of it."""
    found = [name for name in _BROWSERS if shutil.which(name)]
    program = (
        found[0] if found else tools.missing(f"None of {', '.join(_BROWSERS)} is on the PATH.")
    )

    def run(page, *options, network=False):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        flags += ["--virtual-time-budget=5000", f"--user-data-dir={tmp_path}/profile"]
        if not network:
            flags.append("--host-resolver-rules=MAP * ~NOTFOUND")
        command = [program, *flags, *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    return run
