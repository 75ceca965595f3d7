"""Directories that appear whole or not at all, and the content hash of a directory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import uuid
from collections.abc import Iterator

from image_features.errors import ModelError
from image_features.system.disks import fault_of, sync_directory, sync_tree

_CHUNK_BYTES = 2**20
# The file in which the cache keeps an entry's hash.
SEAL = ".image-features-seal.json"
_NOT_CONTENT = frozenset({"fingerprint.pb", SEAL})  # TensorFlow writes a random id into the first.


@contextlib.contextmanager
def staged_directory(target: str, *, keep_existing: bool = False) -> Iterator[str]:
    """Gives an empty directory beside `target`, renamed to `target` once the block succeeds.

    What processes that were killed have left there is removed.

    Args:
      target: The directory to create; its parents are created too.
      keep_existing: Whether a target that another process has made meanwhile will do.

    Raises:
      ModelError: The target exists and is not empty, or cannot be written.
    """
    parent = os.path.dirname(os.path.abspath(target))
    try:
        staging = _make_staging(parent)
    except OSError as error:
        raise ModelError(
            f"The directory {parent!r} cannot be written ({error.strerror}); "
            "choose another one for the model."
        ) from error
    try:
        yield staging
        sync_tree(staging)
        try:
            os.rename(staging, target)
            sync_directory(parent)
        except OSError as error:
            if keep_existing and os.path.isdir(target):
                return
            raise ModelError(
                f"The model cannot be written to {target!r} ({error.strerror}); "
                "name a directory that does not exist yet."
            ) from error
    except Exception as error:  # TensorFlow has exceptions of its own.
        fault = fault_of(error)
        if not fault:
            raise
        raise ModelError(
            f"The model cannot be written to {target!r} ({fault}); make room there, or name "
            "another place."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make_staging(parent: str) -> str:
    """Makes a directory that is locked as long as this process lives; returns it.

    Raises:
      OSError: The directory cannot be made.
    """
    os.makedirs(parent, exist_ok=True)
    # Some file systems keep locks on one machine only, so each removes just its own.
    prefix = f".staging-{platform.node()}-"
    whole = os.open(parent, os.O_RDONLY)
    try:
        # A new directory must have its lock before others look at it.
        if _is_locked(whole, fcntl.LOCK_EX):
            for name in os.listdir(parent):
                if name.startswith(prefix):
                    _remove_if_dead(os.path.join(parent, name))
        staging = os.path.join(parent, prefix + uuid.uuid4().hex)
        os.mkdir(staging)
        # The lock is never closed: the directory may be renamed to another's staging one.
        _is_locked(os.open(staging, os.O_RDONLY), fcntl.LOCK_EX)
        return staging
    finally:
        os.close(whole)


def _remove_if_dead(staging: str) -> None:
    with contextlib.suppress(OSError):
        lock = os.open(staging, os.O_RDONLY)
        try:
            if _is_locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            os.close(lock)


def _is_locked(descriptor: int, how: int) -> bool:
    """Takes a lock; returns whether it was free, and the file system has any."""
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


def content_hash(directory: str) -> str:
    """Hashes the names and bytes of a model's files; returns a hexadecimal SHA-256.

    The files count in the order of their relative paths, each as path, length and bytes;
    `fingerprint.pb`, which is random, and the cache's seal do not count.

    Raises:
      ModelError: A file cannot be read.
    """
    paths = []
    for root, _, names in os.walk(directory):
        paths += [
            os.path.relpath(os.path.join(root, name), directory)
            for name in names
            if name not in _NOT_CONTENT
        ]
    digest = hashlib.sha256()
    try:
        for path in sorted(path.replace(os.sep, "/") for path in paths):
            full = os.path.join(directory, *path.split("/"))
            digest.update(f"{path}\0{os.path.getsize(full)}\0".encode(errors="surrogateescape"))
            with open(full, "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise ModelError(
            f"The model file {error.filename!r} cannot be read ({error.strerror}); "
            "check its permissions, or copy the model afresh."
        ) from error
    return digest.hexdigest()
