"""Beam without the clients of clouds and databases, which it imports for everyone and few need.

They take longer to import than the rest of Beam, which does without where they are missing. So
they look as if they were not while Beam is imported; afterwards they can be imported as ever.
"""

from __future__ import annotations

import importlib
import importlib.abc
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

# google.auth stays, since images on gs:// are read with it.
_HIDDEN = (
    "apitools",
    "google.api_core",
    "google.cloud",
    "google_auth_httplib2",
    "oauth2client",
    "pandas",
    "pymongo",
)
# Beam imports what needs these for itself, and knows what to do without.
_HIDDEN_OF_BEAM = ("apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.pubsub")
_NEEDING = ("gs://", "dataflow")


def needs_clouds(arguments: Iterable[str]) -> bool:
    """Tells whether a command will need clients of clouds from its beginning."""
    return any(word in argument.lower() for argument in arguments for word in _NEEDING)


def import_beam() -> None:
    """Imports Beam without the clients; does nothing where it is imported already."""
    if "apache_beam" in sys.modules:
        return
    # It would say that a client of databases is missing.
    logging.getLogger("apache_beam.io.mongodbio").setLevel(logging.ERROR)
    hiding = _Hiding()
    sys.meta_path.insert(0, hiding)
    try:
        importlib.import_module("apache_beam")
        # Arrow asks once in a process whether pandas is there, with the first array.
        importlib.import_module("pyarrow").array([])
    finally:
        sys.meta_path.remove(hiding)
    _bring_gcs_when_asked()


class _Hiding(importlib.abc.MetaPathFinder):
    """Finds nothing where a client would be."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        for hidden in (*_HIDDEN, *_HIDDEN_OF_BEAM):
            if name == hidden or name.startswith(f"{hidden}."):
                raise ModuleNotFoundError(f"{name} is not needed yet.", name=name)


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
