"""Our package as Dataflow's workers install it, an sdist of the code that is running here.

It is made from the installed packages, so that a launcher installed from a wheel has it too, and
it asks for what workers need: TensorFlow only where the model runs on it.
"""

from __future__ import annotations

import atexit
import gzip
import importlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator

from packaging.requirements import Requirement

from image_features.models.identity import Engine
from image_features.pipeline.process import PACKAGE

DISTRIBUTION = "image-feature-extractor"
# Only launchers and readers need these.
_LAUNCHER_ONLY = frozenset({"h5py", "keras", "rich", "tf-keras"})
_TENSORFLOW = frozenset({"tensorflow", "tensorflow-hub"})
_NOT_FOR_WORKERS = ("__pycache__", "builtin.npz", "templates")
_EPOCH = 315_532_800  # It is 1980-01-01, the first time that archives of every kind can hold.


def worker_requirements(engine: Engine, extra: str = "") -> list[str]:
    """Returns the requirements of a worker that runs models with an engine, as pip takes them.

    Args:
      engine: The engine.
      extra: The extra of our distribution that its work needs; empty if it needs none.
    """
    left_out = _LAUNCHER_ONLY if engine is Engine.TENSORFLOW else _LAUNCHER_ONLY | _TENSORFLOW
    wanted = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        # Google's clients are an extra for users, and a worker on Dataflow reads with them. It
        # decodes what the launcher could.
        extras = {"gcp", extra, *(["heif"] if _has_heif() else [])} - {""}
        marker = requirement.marker
        needed = marker is None or any(marker.evaluate({"extra": name}) for name in extras)
        if needed and requirement.name.lower() not in left_out:
            own = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            wanted.append(f"{requirement.name}{own}=={_version(requirement)}")
    return wanted


def _has_heif() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


def _version(requirement: Requirement) -> str:
    # The versions are the launcher's, since others may compute other bytes; PyPI has no local
    # labels.
    return importlib.metadata.version(requirement.name).partition("+")[0]


def worker_sdist(engine: Engine, directory: str | None = None, extra: str = "") -> str:
    """Writes the sdist, which has the same bytes for the same code.

    Args:
      engine: The engine that runs the model.
      directory: The directory to write it to; without one it is a temporary directory, which is
        removed when this process ends.
      extra: The extra of our distribution that the work needs.

    Returns:
      The path of a .tar.gz that pip installs.
    """
    if directory is None:
        directory = tempfile.mkdtemp(prefix="image-features-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    version = importlib.metadata.version(DISTRIBUTION)
    name = f"{DISTRIBUTION.replace('-', '_')}-{version}"
    path = os.path.join(directory, f"{name}.tar.gz")
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for member, data in _members(version, worker_requirements(engine, extra)):
            info = tarfile.TarInfo(f"{name}/{member}")
            info.size, info.mtime, info.mode = len(data), _EPOCH, 0o644
            archive.addfile(info, io.BytesIO(data))
    return path


def _members(version: str, requirements: list[str]) -> Iterator[tuple[str, bytes]]:
    files = dict(_package_files())
    packages = sorted({path.rpartition("/")[0].replace("/", ".") for path in files})
    setup = {
        "name": DISTRIBUTION,
        "version": version,
        "packages": packages,
        "package_data": {PACKAGE: ["py.typed"]},
        "install_requires": requirements,
        "entry_points": {
            "console_scripts": [
                "image-features-worker = image_features.pipeline.runners.worker:console"
            ]
        },
    }
    arguments = "".join(f"    {name}={value!r},\n" for name, value in setup.items())
    yield "setup.py", f"from setuptools import setup\n\nsetup(\n{arguments})\n".encode()
    metadata = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n"
    yield "PKG-INFO", metadata.encode()
    for path, file in files.items():
        with open(file, "rb") as source:
            yield path, source.read()


def _package_files() -> Iterator[tuple[str, str]]:
    """Yields every file of our package: its path in the sdist and its path on this machine."""
    (root,) = importlib.import_module(PACKAGE).__path__
    # In a checkout the sub-packages are links.
    for directory, names, entries in os.walk(root, followlinks=True):
        names[:] = sorted(name for name in names if name not in _NOT_FOR_WORKERS)
        inside = os.path.relpath(directory, os.path.dirname(root))
        for entry in sorted(entries):
            if entry not in _NOT_FOR_WORKERS:
                yield f"{inside}/{entry}", os.path.join(directory, entry)
