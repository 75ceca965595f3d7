"""Beam without the clients of clouds and databases, which it imports for everyone and few need.

They take longer to import than the rest of Beam, which does without where they are missing. So
they look as if they were not while Beam is imported; afterwards they can be imported as ever.
What Beam does not do without, but does not use either, comes when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.abc
import logging
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any

# google.auth stays, since images on gs:// are read with it.
_HIDDEN = (
    "absl",
    "apitools",
    "bson",
    "dill",
    "google.api_core",
    "google.cloud",
    "google_auth_httplib2",
    "oauth2client",
    "pandas",
    "pymongo",
)
# Beam imports what needs these for itself, and knows what to do without.
_HIDDEN_OF_BEAM = ("apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.pubsub")
_NEEDING = ("gs://", "dataflow", "dill")
# Beam and Arrow use attributes of these modules, and functions of those.
_LATE_MODULES = ("dateutil.parser", "httplib2", "pydoc", "yaml")
_LATE_FUNCTIONS = {"beartype.door": "is_subhint", "cryptography.fernet": "Fernet"}


def needs_clouds(arguments: Iterable[str]) -> bool:
    """Tells whether a command will need what is left out from its beginning."""
    return any(word in argument.lower() for argument in arguments for word in _NEEDING)


def import_beam() -> None:
    """Imports Beam without the clients; does nothing where it is imported already."""
    if "apache_beam" in sys.modules:
        return
    # It would say that a client of databases is missing.
    logging.getLogger("apache_beam.io.mongodbio").setLevel(logging.ERROR)
    finder = _Hiding()
    sys.meta_path.insert(0, finder)
    standing = _stand_ins()
    sys.modules.update(standing)
    try:
        importlib.import_module("apache_beam")
        # Arrow asks once in a process whether pandas is there, with the first array.
        importlib.import_module("pyarrow").array([])
        importlib.import_module("pyarrow.compute")
    finally:
        sys.meta_path.remove(finder)
        for name, module in standing.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    _bring_gcs_when_asked()


class _Hiding(importlib.abc.MetaPathFinder):
    """Finds nothing where a client would be."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        for hidden in (*_HIDDEN, *_HIDDEN_OF_BEAM):
            if name == hidden or name.startswith(f"{hidden}."):
                raise ModuleNotFoundError(f"{name} is not needed yet.", name=name)


class _Late(types.ModuleType):
    """Stands for a module that is imported when somebody asks for an attribute of it."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # The import system asks for some.
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


def _stand_ins() -> dict[str, types.ModuleType]:
    """Returns what stands for modules, and imports the real one when it is used."""
    modules = {name: types.ModuleType(name) for name in ("beartype", *_LATE_FUNCTIONS)}
    for name, function in _LATE_FUNCTIONS.items():
        setattr(modules[name], function, _brought(name, function))
    roar = modules["beartype.roar"] = types.ModuleType("beartype.roar")
    roar.BeartypeDoorException = _CannotCompareError  # type: ignore[attr-defined]
    modules.update({name: _Late(name) for name in _LATE_MODULES})
    standing = {name: module for name, module in modules.items() if name not in sys.modules}
    for name in set(_LATE_MODULES) & standing.keys():
        package, _, last = name.rpartition(".")
        if package:  # Who has imported `a.b` asks `a` for it.
            setattr(importlib.import_module(package), last, standing[name])
    return standing


class _CannotCompareError(Exception):
    """Stands for the error by which beartype tells that it cannot compare two types."""


def _brought(name: str, function: str) -> Any:
    def call(*args: Any) -> Any:
        real = getattr(importlib.import_module(name), function)
        try:
            return real(*args)
        except Exception as error:
            if type(error).__module__.startswith("beartype."):
                raise _CannotCompareError(str(error)) from error
            raise

    return call


def _bring_gcs_when_asked() -> None:
    from apache_beam.io.filesystem import FileSystem

    class GcsWhenAsked(FileSystem):  # type: ignore[misc]
        """Stands for Beam's file system of gs://, and brings it where somebody asks for it."""

        asked = False

        def __new__(cls, pipeline_options: Any) -> Any:
            cls.asked = True
            for name in ("apache_beam.utils.retry", "apache_beam.internal.gcp.auth"):
                if name in sys.modules:  # They have looked for the clients and found none.
                    importlib.reload(sys.modules[name])
            from apache_beam.io.gcp.gcsfilesystem import GCSFileSystem

            return GCSFileSystem(pipeline_options)

        @classmethod
        def scheme(cls) -> str:
            return "" if cls.asked else "gs"

    GcsWhenAsked.__abstractmethods__ = frozenset()
    _KEPT.append(GcsWhenAsked)


# Beam finds a file system among the subclasses, which are forgotten where nobody holds them.
_KEPT: list[type] = []
