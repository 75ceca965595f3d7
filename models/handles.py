"""The resolution of model handles to local directories, through a cache of what is fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable

from image_features.errors import ModelError
from image_features.models.addresses import shown
from image_features.models.archive import is_archive, unpack
from image_features.models.download import copy_remote_directory, copy_remote_file, download_http
from image_features.models.files import content_hash, staged_directory
from image_features.models.mobilenet_v2 import Weights
from image_features.models.quiet import import_tensorflow

BUILTIN = "builtin"
UNTRAINED = "untrained"
CACHE_VARIABLE = "IMAGE_FEATURES_CACHE"
_DEFAULT_CACHE = os.path.join("~", ".cache", "image-features", "modules")
_UNTRAINED_SEED = 0
_EXPORT_VERSION = 2  # Raise it when the network, the seeded weights or their export changes.

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ResolvedModule:
    """A model on the local disk.

    Attributes:
      handle: The name that the user gave.
      directory: The local directory, which holds saved_model.pb.
      content_hash: The hexadecimal SHA-256 of its files (see `files.content_hash`).
    """

    handle: str
    directory: str
    content_hash: str


def resolve(handle: str) -> ResolvedModule:
    """Makes a model available locally.

    A local directory is used where it is. Everything else goes to a directory of the cache (see
    `cache_root`), which appears whole, so that processes may share a cache; an http(s) or remote
    handle that is in the cache is not looked up again.

    Args:
      handle: A local directory; a local .tar.gz or .tgz; a gs:// directory or archive; an http(s)
        archive or Hub page (https://tfhub.dev/...); "builtin", the trained weights in the
        package; or "untrained", the same network with random weights.

    Raises:
      ModelError: The model cannot be fetched or read, or is not a SavedModel.
    """
    directory = _locate(handle, cache_root())
    return ResolvedModule(handle, directory, content_hash(directory))


def cache_root() -> str:
    """Returns the directory of fetched modules, and of what is compiled from modules.

    It is $IMAGE_FEATURES_CACHE, by default ~/.cache/image-features/modules.
    """
    return os.path.abspath(os.path.expanduser(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE))


def _locate(handle: str, cache: str) -> str:
    if not handle.strip():
        raise ModelError(
            "The model handle is empty; pass --model with a directory, an archive, a URL or "
            f"'{BUILTIN}'."
        )
    if handle == BUILTIN:
        return _builtin(cache)
    if handle == UNTRAINED:
        return _untrained(cache)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", handle)
    if scheme is None:
        return _local(os.path.expanduser(handle), handle, cache)
    if scheme[1].lower() == "file":
        path = urllib.parse.unquote(urllib.parse.urlsplit(handle).path)
        return _local(path, handle, cache)
    target = _entry(cache, handle)
    if _has_model(target):
        return target
    with staged_directory(target, keep_existing=True) as staging:
        if scheme[1].lower() in ("http", "https"):
            _fetch_archive(hub_archive_url(handle), staging, handle)
        elif is_archive(handle):
            _fetch_archive(handle, staging, handle)
        else:
            copy_remote_directory(handle, staging)
        _require_model(staging, handle)
    return target


def hub_archive_url(url: str) -> str:
    """Returns the URL of a model's archive, given the archive's own or that of its Hub page.

    A Hub page serves the archive when asked by a query, as TensorFlow Hub's hosting protocol has
    it (tensorflow.org/hub/hosting).
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise ModelError(f"The model {shown(url)!r} is not a valid URL: {error}.") from error
    if is_archive(parts.path) or "tf-hub-format=" in parts.query:
        return url
    query = "&".join(filter(None, (parts.query, "tf-hub-format=compressed")))
    return urllib.parse.urlunsplit(parts._replace(query=query))


def _local(path: str, handle: str, cache: str) -> str:
    """Returns the directory of a local model, unpacked into the cache if it is an archive."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        _require_model(path, handle)
        return path
    if not os.path.exists(path):
        raise ModelError(
            f"There is no model at {shown(handle)!r}; pass a directory with saved_model.pb, a "
            ".tar.gz of "
            f"one, a gs:// or https:// address, or '{BUILTIN}'."
        )
    if not is_archive(path):
        raise ModelError(
            f"The model {shown(handle)!r} is neither a directory nor a .tar.gz or .tgz archive; "
            "pass the directory that holds saved_model.pb."
        )
    # The file may be replaced under the same name, so its content is the key.
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = _entry(cache, f"archive {digest}")
    if not _has_model(target):
        with staged_directory(target, keep_existing=True) as staging:
            unpack(path, staging, handle)
            _lift_single_directory(staging)
            _require_model(staging, handle)
    return target


def _fetch_archive(location: str, staging: str, handle: str) -> None:
    """Downloads an archive beside the staging directory and unpacks it there."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(staging), prefix=".download-") as scratch:
        archive = os.path.join(scratch, "module.tar.gz")
        if location.lower().startswith(("http://", "https://")):
            download_http(location, archive)
        else:
            copy_remote_file(location, archive)
        unpack(archive, staging, handle)
    _lift_single_directory(staging)


def _builtin(cache: str) -> str:
    """Exports the network with the weights in the package; every run gives the same bytes."""
    from image_features.models.weights import bundled_digest, bundled_weights

    key = f"{BUILTIN} {bundled_digest()}"
    return _exported(cache, key, lambda: bundled_weights().arrays)


def _untrained(cache: str) -> str:
    """Exports the network with seeded weights; every run gives the same bytes."""
    from image_features.models.mobilenet_v2 import seeded_weights

    _log.warning(
        "--model=%s: the network has RANDOM weights, so its features mean NOTHING. Use them to "
        "try the pipeline only, and pass '%s' or another trained module for real work.",
        UNTRAINED,
        BUILTIN,
    )
    return _exported(cache, UNTRAINED, lambda: seeded_weights(_UNTRAINED_SEED))


def _exported(cache: str, key: str, weights: Callable[[], Weights]) -> str:
    """Returns the cache's export of weights of depth multiplier 0.5, after making it if needed."""
    tensorflow_version = importlib.metadata.version("tensorflow")
    target = _entry(cache, f"{key} {_EXPORT_VERSION} tensorflow {tensorflow_version}")
    if not _has_model(target):
        from image_features.models.export import export_tf1_hub

        import_tensorflow(threads_per_operation=1)  # `engines` sets it to 1 too.
        with staged_directory(target, keep_existing=True) as staging:
            export_tf1_hub(weights(), staging)
    return target


def _entry(cache: str, key: str) -> str:
    return os.path.join(cache, hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest())


def _has_model(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, "saved_model.pb"))


def _require_model(directory: str, handle: str) -> None:
    if not _has_model(directory):
        raise ModelError(
            f"The model {shown(handle)!r} has no saved_model.pb at its top, so it is not a "
            "SavedModel; "
            "name the directory, or an archive of the directory, that holds the file."
        )


def _lift_single_directory(staging: str) -> None:
    """Moves the content of a single directory up: many archives are packed so."""
    names = os.listdir(staging)
    if len(names) != 1 or not _has_model(os.path.join(staging, names[0])):
        return
    with tempfile.TemporaryDirectory(dir=os.path.dirname(staging), prefix=".lift-") as scratch:
        inner = os.path.join(scratch, "module")
        os.rename(os.path.join(staging, names[0]), inner)
        for name in os.listdir(inner):
            shutil.move(os.path.join(inner, name), os.path.join(staging, name))
