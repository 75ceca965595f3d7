"""The image, as Docker reads its description, and pip what it installs."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from image_features.pipeline.process import PACKAGE
from tests.deploy.dockerfiles import build_arguments, complaints, instructions
from tests.deploy.files import (
    HERE,
    ROOT,
)

DOCKERFILE = (HERE / "Dockerfile").read_text()


def test_the_dockerfile_is_clean():
    assert list(complaints(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("FROM python", "not pinned"),
        ("FROM python:latest", "not pinned"),
        ("FROM gcr.io:443/p/python", "not pinned"),
        ("ARG TAG\nFROM python:${TAG}", "not pinned"),
        ("ADD setup.py /x", "ADD"),
        ("COPY nowhere.py /x", "not there"),
        ("COPY .git /x", "ignored"),
        ("COPY --from=build /wheels /wheels", "no stage"),
        ("WORKDIR src", "not absolute"),
        ("ENTRYPOINT /opt/apache/beam/boot", "exec form"),
        ("RUN apt-get update && apt-get install -y gcc", "--no-install-recommends"),
        ("RUN apt-get install --no-install-recommends gcc", "without -y"),
        ("RUN true \\\n    # why\n    && pip install --constraint=c x", "--no-cache-dir"),
        ("RUN pip install --no-cache-dir x", "--constraint"),
    ],
)
def test_the_rules_find_what_they_are_for(line, says):
    (found,) = complaints(f"FROM python:3.11 AS base\n{line}\n")
    assert says in found


def test_versions_agree():
    values = build_arguments(instructions(DOCKERFILE))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert values["BEAM_VERSION"] == pins["apache-beam"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["gcp"]]
    ranges = [each.specifier for each in map(Requirement, listed) if each.name == "apache-beam"]
    assert len(ranges) == 2
    assert all(values["BEAM_VERSION"] in each for each in ranges)
    assert f"{values['PYTHON_VERSION']}.0" in SpecifierSet(project["requires-python"])
    assert f"/python{values['PYTHON_VERSION'].replace('.', '')}-template-" in DOCKERFILE
    readme = (HERE / "README.md").read_text()
    assert values["BEAM_VERSION"] in readme and values["PYTHON_VERSION"] in readme


def test_one_image_launches_and_works():
    found = instructions(DOCKERFILE)
    assert [rest for name, rest in found if name == "ENTRYPOINT"] == ['["/opt/apache/beam/boot"]']
    (main,) = (rest.split() for name, rest in found if rest.startswith("deploy/dataflow/main.py "))
    environment = dict(w.split("=", 1) for n, rest in found if n == "ENV" for w in rest.split())
    assert environment["FLEX_TEMPLATE_PYTHON_PY_FILE"] == main[1]
    launcher = "/opt/google/dataflow/python_template_launcher"
    assert ("COPY", f"--from=launcher {launcher} {launcher}") in found
    assert ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam") in found
    froms = [rest for name, rest in found if name == "FROM"]
    # Without --target the last one is built.
    assert froms[-2:] == ["runtime AS gpu", "runtime AS cpu"]


def test_the_build_stage_makes_the_whole_wheel(tmp_path):
    """Runs the stage's pip on what the stage copies, and looks into the wheel."""
    _, _, rest = DOCKERFILE.partition(" AS build\n")
    stage = list(itertools.takewhile(lambda pair: pair[0] != "FROM", instructions(rest)))
    for _, rest in (pair for pair in stage if pair[0] == "COPY"):
        *sources, target = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, tmp_path / target, symlinks=True, ignore=skipped)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    (command,) = (rest for name, rest in stage if name == "RUN")
    wheels = tmp_path / "wheels"
    command = command.replace("/wheels", str(wheels))
    # The tests' own setuptools, since another one would have to be fetched.
    words = [sys.executable, "-m", *shlex.split(command), "--no-build-isolation"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (scripts,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        assert (
            "image-features = image_features.pipeline.cli.main:console"
            in archive.read(scripts).decode()
        )
    expected = {
        os.path.relpath(os.path.join(directory, name), ROOT)
        for directory, _, found in os.walk(ROOT / PACKAGE, followlinks=True)
        for name in found
        if not directory.endswith("__pycache__")
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
