"""The image, as Docker reads its description, and pip what it installs."""

import fnmatch
import itertools
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.specifiers import SpecifierSet

from pipeline.process import PACKAGES
from tests.deploy.files import (
    HERE,
    ROOT,
)


def instructions(text):
    """Pairs of an instruction and its arguments, as Docker reads them."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, rest in pairs]


def build_arguments(found):
    return dict(rest.split("=", 1) for name, rest in found if name == "ARG" and "=" in rest)


def fill_in(text, values):
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), text)


def complaints(text):
    """What is wrong with a Dockerfile, by rules of hadolint and of this repository."""
    found, stages = instructions(text), set()
    values = build_arguments(found)
    for name, rest in found:
        words = rest.split()
        if name == "FROM":
            image = fill_in(words[0], values)
            tag = image.rpartition("/")[2].partition(":")[2].partition("@")[0]
            if image not in stages and (not tag or tag == "latest" or "$" in image):
                yield f"FROM {image} is not pinned"
            stages |= {words[2]} if len(words) == 3 and words[1].upper() == "AS" else set()
        elif name == "ADD":
            yield "ADD is not COPY"
        elif name == "COPY":
            options = [word for word in words if word.startswith("--")]
            sources = [word for word in words if not word.startswith("--")][:-1]
            stage = next((o.partition("=")[2] for o in options if o.startswith("--from=")), None)
            if stage is not None and stage not in stages:
                yield f"COPY --from={stage} is from no stage"
            for source in sources if stage is None else []:
                if is_ignored(source):
                    yield f"COPY {source} is ignored"
                elif not (ROOT / source).exists():
                    yield f"COPY {source} is not there"
        elif name == "WORKDIR" and not words[0].startswith("/"):
            yield f"WORKDIR {words[0]} is not absolute"
        elif name in ("ENTRYPOINT", "CMD") and not isinstance(as_json(rest), list):
            yield f"{name} is not in exec form"
        elif name == "RUN":
            yield from _complaints_of_commands(rest)


def _complaints_of_commands(line):
    for command in re.split(r"&&|\|\||;", line):
        words = shlex.split(command)
        if words[:2] == ["apt-get", "install"]:
            wanted = {"-y", "--no-install-recommends"} - set(words)
            yield from (f"apt-get install without {option}" for option in sorted(wanted))
        if words[:1] == ["pip"] and words[1] in ("install", "wheel", "download"):
            if "--no-cache-dir" not in words:
                yield f"pip {words[1]} without --no-cache-dir"
            if words[1] == "install" and not any(w.startswith("--constraint=") for w in words):
                yield "pip install without --constraint"
        if words[:1] == ["sudo"]:
            yield "sudo"


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def is_ignored(path):
    """Whether .dockerignore keeps a path out of the build, by the patterns that it has."""
    patterns = (ROOT / ".dockerignore").read_text().split()
    assert not any(pattern.startswith(("!", "#", "/")) for pattern in patterns)
    return any(
        fnmatch.fnmatchcase(each.name, pattern.removeprefix("**/"))
        if pattern.startswith("**/")
        else fnmatch.fnmatchcase(str(each), pattern)
        for each in (pathlib.PurePosixPath(path), *pathlib.PurePosixPath(path).parents)
        for pattern in patterns
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
    setup = (ROOT / "setup.py").read_text()
    ranges = re.findall(r"\"apache-beam(?:\[gcp\])?([<>=!~][^\"]*)\"", setup)
    assert len(ranges) == 2
    assert all(values["BEAM_VERSION"] in SpecifierSet(each) for each in ranges)
    (pythons,) = re.findall(r"python_requires=\"([^\"]+)\"", setup)
    assert f"{values['PYTHON_VERSION']}.0" in SpecifierSet(pythons)
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
                shutil.copytree(ROOT / source, tmp_path / target, ignore=skipped)
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
        assert "image-features = pipeline.cli:console" in archive.read(scripts).decode()
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
