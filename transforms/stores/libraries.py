"""The libraries that schemes of object stores need beyond what this package installs."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from typing import NamedTuple

from image_features.errors import UsageError


class _Library(NamedTuple):
    """A library by the modules that are imported, and what installs it.

    Attributes:
      name: The name of its distribution.
      modules: The modules that must be there.
      extra: The extra that brings it.
      of: The distribution that has the extra.
    """

    name: str
    modules: tuple[str, ...]
    extra: str
    of: str = "apache-beam"


_LIBRARIES = {
    "gs": _Library(
        "google-cloud-storage",
        ("google.auth", "google.cloud.storage"),
        "gcp",
        "image-feature-extractor",
    ),
    "s3": _Library("boto3", ("boto3",), "aws"),
    "hdfs": _Library("hdfs", ("hdfs",), "hadoop"),
    "azfs": _Library("azure-storage-blob", ("azure.storage.blob", "azure.identity"), "azure"),
}


class MissingLibraryError(UsageError):
    """The library of a scheme is not installed; the message has the command that installs it."""


def missing(location: str) -> str:
    """Returns which library a location needs that is not installed, and an empty text if none."""
    scheme, separator, _ = location[:16].partition("://")
    return _missing(scheme.lower()) if separator else ""


def check(locations: Iterable[str]) -> None:
    """Makes sure that locations can be read and written, as far as libraries are concerned.

    Raises:
      MissingLibraryError: a library is not installed.
    """
    for location in locations:
        if problem := missing(location):
            raise MissingLibraryError(problem)


@functools.cache
def _missing(scheme: str) -> str:
    library = _LIBRARIES.get(scheme)
    if library is None or all(map(_is_installed, library.modules)):
        return ""
    # Another version of Beam than the one that is installed would be another pipeline.
    version = f"=={importlib.metadata.version(library.of)}" if library.of == "apache-beam" else ""
    return (
        f"{scheme}:// needs {library.name}, which is not installed: "
        f"pip install '{library.of}[{library.extra}]{version}'"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # A package above it is missing, or is there in name only.
        return False
