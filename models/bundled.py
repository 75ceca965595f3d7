"""The file of the trained weights that come with the package."""

from __future__ import annotations

import hashlib
import importlib.resources
from importlib.resources.abc import Traversable

_NAME = "builtin.npz"


def bundled_file() -> Traversable:
    """Returns the file, which may lie in an archive of the package."""
    return importlib.resources.files(__package__) / _NAME


def bundled_digest() -> str:
    """Returns the hexadecimal SHA-256 of the weights in the package."""
    return hashlib.sha256(bundled_file().read_bytes()).hexdigest()
