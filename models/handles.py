"""The resolution of model handles to local directories, through a cache of what is fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import logging
import os
import tempfile
import urllib.parse
from collections.abc import Callable

from image_features.errors import ModelError
from image_features.models.addresses import shown
from image_features.models.archive import is_archive, unpack
from image_features.models.bundled import bundled_digest
from image_features.models.cache import cached
from image_features.models.download import copy_remote_directory, copy_remote_file, download_http
from image_features.models.files import content_hash
from image_features.models.misfits import modules_below, why_no_module
from image_features.models.mobilenet_v2 import Weights
from image_features.models.quiet import import_tensorflow
from image_features.models.saved_model_files import check_files, has_graph
from image_features.models.sources.form import Form, recognise
from image_features.system.paths import absolute

BUILTIN = "builtin"
UNTRAINED = "untrained"
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
    `models.cache`), which appears whole, so that processes may share a cache; an http(s) or remote
    handle that is in the cache is not looked up again.

    Args:
      handle: A local directory; a local .tar.gz or .tgz; a gs:// directory or archive; an http(s)
        archive or Hub page (https://tfhub.dev/...); "builtin", the trained weights in the
        package; or "untrained", the same network with random weights.

    Raises:
      ModelError: The model cannot be fetched or read, or is not a SavedModel.
    """
    return ResolvedModule(handle, *_locate(handle))


def _locate(handle: str) -> tuple[str, str]:
    """Returns the directory of a model, and its content hash."""
    if not handle.strip():
        raise ModelError(
            "The model handle is empty; pass --model with a directory, an archive, a URL or "
            f"'{BUILTIN}'."
        )
    if handle == BUILTIN:
        return _builtin()
    if handle == UNTRAINED:
        return _untrained()
    location = absolute(handle)
    if "://" not in location:
        return _local(location, handle)

    def fetch(staging: str) -> None:
        if location.startswith(("http://", "https://")):
            _fetch_archive(hub_archive_url(location), staging, handle)
        elif is_archive(location):
            _fetch_archive(location, staging, handle)
        else:
            copy_remote_directory(location, staging)
        _require_model(staging, handle)

    return cached(location, fetch)


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


def _local(path: str, handle: str) -> tuple[str, str]:
    """Finds a local model, unpacked into the cache if it is an archive."""
    if os.path.isdir(path):
        _require_model(path, handle)
        return path, content_hash(path)
    if not os.path.exists(path) and recognise(path) is None:
        raise ModelError(
            f"There is no model at {shown(handle)!r}; pass a directory with saved_model.pb, a "
            ".tar.gz of "
            f"one, a gs:// or https:// address, or '{BUILTIN}'."
        )
    if recognise(path) is not Form.ARCHIVE and not is_archive(path):
        raise ModelError(why_no_module(path, shown(handle)))
    # The file may be replaced under the same name, so its content is the key.
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()

    def extract(staging: str) -> None:
        unpack(path, staging, handle)
        _lift_module(staging)
        _require_model(staging, handle)

    return cached(f"archive {digest}", extract)


def _fetch_archive(location: str, staging: str, handle: str) -> None:
    """Downloads an archive and unpacks it, all within the staging directory."""
    with tempfile.TemporaryDirectory(dir=staging, prefix=".download-") as scratch:
        archive = os.path.join(scratch, "module.tar.gz")
        if location.lower().startswith(("http://", "https://")):
            download_http(location, archive)
        else:
            copy_remote_file(location, archive)
        unpack(archive, staging, handle)
    _lift_module(staging)


def _builtin() -> tuple[str, str]:
    """Exports the network with the weights in the package; every run gives the same bytes."""

    def weights() -> Weights:
        # It knows every form of weights, which takes a while, and is seldom asked.
        from image_features.models.weights import bundled_weights

        return bundled_weights().arrays

    return _exported(f"{BUILTIN} {bundled_digest()}", weights)


def _untrained() -> tuple[str, str]:
    """Exports the network with seeded weights; every run gives the same bytes."""
    from image_features.models.mobilenet_v2 import seeded_weights

    _log.warning(
        "--model=%s: the network has RANDOM weights, so its features mean NOTHING. Use them to "
        "try the pipeline only, and pass '%s' or another trained module for real work.",
        UNTRAINED,
        BUILTIN,
    )
    return _exported(UNTRAINED, lambda: seeded_weights(_UNTRAINED_SEED))


def _exported(key: str, weights: Callable[[], Weights]) -> tuple[str, str]:
    """Finds the cache's export of weights of depth multiplier 0.5, after making it if needed."""

    def export(staging: str) -> None:
        from image_features.models.export import export_tf1_hub

        import_tensorflow(threads_per_operation=1)  # `engines` sets it to 1 too.
        export_tf1_hub(weights(), staging)

    version = importlib.metadata.version("tensorflow")
    return cached(f"{key} {_EXPORT_VERSION} tensorflow {version}", export)


def _require_model(directory: str, handle: str) -> None:
    if not has_graph(directory):
        raise ModelError(why_no_module(directory, shown(handle)))
    check_files(directory, shown(handle))


def _lift_module(staging: str) -> None:
    """Moves the content of the only module up: many archives have it within directories."""
    found = [] if has_graph(staging) else modules_below(staging)
    if len(found) != 1:
        return
    with tempfile.TemporaryDirectory(dir=staging, prefix=".lift-") as scratch:
        rest = os.path.join(scratch, "rest")
        os.mkdir(rest)
        for name in os.listdir(staging):
            if name != os.path.basename(scratch):
                os.rename(os.path.join(staging, name), os.path.join(rest, name))
        inner = os.path.join(rest, found[0])
        for name in os.listdir(inner):
            os.rename(os.path.join(inner, name), os.path.join(staging, name))
