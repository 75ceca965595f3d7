"""The sdist and the wheel: what is in them, and whether a wheel works where it is installed."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser

import pytest

from image_features.pipeline.process import PACKAGE

ROOT = pathlib.Path(__file__).parents[2]
NOT_OURS = ("pipeline", "transforms", "models")
NOT_COPIED = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "site", "data"
)


def build(source, target, *options):
    """Builds with the tests' own setuptools, since another one would have to be fetched."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, *options]
    done = subprocess.run([*command, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    copy = tmp_path_factory.mktemp("checkout") / "source"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """The directory of an sdist and of the wheel that is built from it."""
    pytest.importorskip("build", reason="There is no build; it comes with the extra [dev].")
    target = tmp_path_factory.mktemp("dist")
    said = build(checkout, target)
    assert "would be ignored" not in said and "Deprecat" not in said
    return target


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment with the wheel, which borrows only what ours needs."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    # Ours is not borrowed: an editable install is a .pth file, which counts only in an
    # environment's own directory.
    borrowed = [each for each in sys.path if pathlib.Path(each).name == "site-packages"]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return home / "bin"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A directory of somebody who has folders and files of the names that ours once had."""
    home = tmp_path_factory.mktemp("elsewhere")
    for name in NOT_OURS:
        (home / name).mkdir()
        for path in (home / name / "__init__.py", home / f"{name}.py"):
            path.write_text("raise AssertionError('This is somebody else\\'s module.')\n")
    return home


@pytest.fixture(scope="module")
def run(installed, elsewhere, tmp_path_factory):
    """Runs one of the environment's programs in a directory like that; returns what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept["IMAGE_FEATURES_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    kept["TF_CPP_MIN_LOG_LEVEL"] = "3"

    def run(program, *arguments, code=0):
        command = [installed / program, *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=kept, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def contents(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def sources():
    """Every file of the package in this checkout, whose sub-packages are links."""
    return {
        os.path.relpath(os.path.join(directory, name), ROOT)
        for directory, _, names in os.walk(ROOT / PACKAGE, followlinks=True)
        for name in names
        if not directory.endswith("__pycache__")
    }


def test_the_wheel_has_every_file_and_nothing_else(wheel):
    files = contents(wheel)
    ours = {name: data for name, data in files.items() if ".dist-info/" not in name}
    assert set(ours) == sources()
    for name, data in ours.items():
        assert data == (ROOT / name).read_bytes(), name
    for needed in (
        "py.typed",
        "models/builtin.npz",
        "pipeline/report/templates/report.html",
        "pipeline/dedup/templates/duplicates.html",
    ):
        assert f"{PACKAGE}/{needed}" in ours


def test_the_wheel_tells_what_it_is(wheel):
    about = {
        name.partition(".dist-info/")[2]: data.decode()
        for name, data in contents(wheel).items()
        if ".dist-info/" in name
    }
    for name in ("LICENSE", "NOTICE"):
        assert about[f"licenses/{name}"] == (ROOT / name).read_text()
    metadata = Parser().parsestr(about["METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert about["top_level.txt"].split() == [PACKAGE]


def test_the_sdist_is_enough_to_build_the_same_wheel(built, checkout, wheel, tmp_path):
    """`built` has the wheel of the sdist; this one is of the checkout, with its links."""
    build(checkout, tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    assert contents(direct) == contents(wheel)
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        inside = {member.name.partition("/")[2] for member in archive}
    assert {"constraints.txt", "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md"} <= inside


def test_one_version_is_told():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(\d.*?)\]", changes, re.M)[0] == version
    tags = {
        (path.name, tag)
        for path in (ROOT / "deploy").rglob("*")
        if path.suffix in (".md", ".yaml")
        for tag in re.findall(r"(?:image-features:|newTag: )(\d[\w.]*)", path.read_text())
    }
    assert {tag for _, tag in tags} == {version}, tags


def test_one_name_is_claimed(installed, tmp_path):
    find = "import importlib.util as u, sys; print(*map(u.find_spec, sys.argv[1:]), sep='\\n')"
    command = [installed / "python", "-I", "-c", find, PACKAGE, *NOT_OURS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    ours, *others = done.stdout.splitlines()
    assert str(installed.parent) in ours
    assert others == ["None"] * len(NOT_OURS)


def test_commands_start_beside_folders_and_files_of_these_names(run, elsewhere):
    for command in (["image-features"], ["python", "-m", PACKAGE]):
        assert "extract" in run(*command, "--help")
        assert "--num_shards" in run(*command, "extract", "--help")
    run("python", "-m", PACKAGE, "samples", "photographs")
    assert len(list((elsewhere / "photographs").glob("*.jpg"))) > 5


@pytest.mark.long
def test_extraction_works_beside_folders_and_files_of_these_names(run, elsewhere):
    run("image-features", "samples", "photographs")
    photographs = len(list((elsewhere / "photographs").iterdir()))
    extract = ["extract", "--input=photographs", "--model=builtin", "--num_shards=2"]
    run("image-features", *extract, "--output=alone", "--run_id=run")
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    run("python", "-m", PACKAGE, *extract, *processes, "--output=several", "--run_id=run")
    for name in ("features-00000-of-00002.tfrecord", "features-00001-of-00002.tfrecord"):
        alone, several = (elsewhere / each / "run" / name for each in ("alone", "several"))
        assert alone.read_bytes() == several.read_bytes()
    said = run("image-features", "inspect", "several")
    assert f"{photographs} in = {photographs} out + 0 failed" in said
    assert "every checksum" in said
