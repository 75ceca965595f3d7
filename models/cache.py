"""The directory that keeps modules which were fetched or exported, and what was compiled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable

from image_features.errors import ModelError, UsageError
from image_features.models.files import SEAL, content_hash, staged_directory
from image_features.models.saved_model_files import has_graph
from image_features.system.disks import fault_of
from image_features.system.paths import absolute

CACHE_VARIABLE = "IMAGE_FEATURES_CACHE"
_DEFAULT_CACHE = os.path.join("~", ".cache", "image-features", "modules")

_log = logging.getLogger(__name__)


def cache_root() -> str:
    """Returns the directory of fetched modules, and of what is compiled from modules.

    It is $IMAGE_FEATURES_CACHE, by default ~/.cache/image-features/modules.

    Raises:
      ModelError: There is no home directory, or the variable names no local one.
    """
    try:
        root = absolute(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE)
    except UsageError as error:
        raise ModelError(
            f"Models have no cache: {error} Or set {CACHE_VARIABLE} to a directory for it."
        ) from error
    if "://" in root:
        raise ModelError(f"{CACHE_VARIABLE}={root} must be a directory of this machine.")
    return root


def make_entry(target: str, make: Callable[[str], None]) -> None:
    """Makes an entry of the cache, in the place of one that is damaged.

    Args:
      target: The directory of the entry.
      make: The function that fills an empty directory; the entry appears when it is whole.

    Raises:
      ModelError: The cache cannot be written, or `make` raises it.
    """
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            _log.warning("%s in the model cache is damaged: it is made anew.", target)
            _discard(target)
    except OSError as error:
        raise ModelError(
            f"The model cache {os.path.dirname(target)!r} cannot be written ({error.strerror}); "
            f"set {CACHE_VARIABLE} to a directory that can be."
        ) from error
    try:
        with staged_directory(target, keep_existing=True) as staging:
            make(staging)
    except ModelError as error:
        fault = fault_of(error)
        if not fault:
            raise
        raise ModelError(
            f"The model cache {os.path.dirname(target)!r} cannot be written ({fault}); make room "
            f"there, or set {CACHE_VARIABLE} to a directory that has some."
        ) from error


def cached(key: str, make: Callable[[str], None]) -> tuple[str, str]:
    """Finds the module of a key, after making it if it is not there or is not as it was made.

    Args:
      key: What tells the module from others.
      make: The function that fills an empty directory with it.

    Returns:
      The directory of the module, and its content hash.

    Raises:
      ModelError: The cache cannot be written, or `make` raises it.
    """
    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    target = os.path.join(cache_root(), name)
    if has_graph(target):
        found = content_hash(target)
        # What earlier versions put there has no seal.
        if _sealed_hash(target) in (None, found):
            return target, found

    def make_and_seal(staging: str) -> None:
        make(staging)
        with open(os.path.join(staging, SEAL), "w", encoding="utf-8") as file:
            json.dump({"content_hash": content_hash(staging)}, file)

    make_entry(target, make_and_seal)
    return target, content_hash(target)


def _discard(target: str) -> None:
    """Removes an entry; nobody sees half of it."""
    aside = os.path.join(os.path.dirname(target), f".damaged-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # Another process does the same.
        os.rename(target, aside)
        if os.path.isdir(aside) and not os.path.islink(aside):
            shutil.rmtree(aside)
        else:
            os.unlink(aside)


def _sealed_hash(directory: str) -> str | None:
    """Returns the content hash that an entry was sealed with; None if it was not.

    A seal that cannot be read is an empty one, which no directory fits.
    """
    try:
        with open(os.path.join(directory, SEAL), encoding="utf-8") as file:
            return str(json.load(file)["content_hash"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return ""
