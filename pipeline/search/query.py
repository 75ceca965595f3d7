"""The images of a dataset that are nearest to one: an image to fetch, or a row that is there."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError, UsageError
from image_features.models.engines import load, prepare
from image_features.pipeline.dataset.latest_rows import find_vector
from image_features.pipeline.dataset.records import Floats
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import open_series
from image_features.pipeline.locations import explain
from image_features.pipeline.search.index import open_index
from image_features.pipeline.search.nearest import Neighbour, nearest
from image_features.system.paths import absolute, expand_home
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.reader import ImageReader
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import image_key, redact_uri, resolve_uri
from image_features.transforms.values import ImageError, ImageRef, Stage

_LOG = logging.getLogger(__name__)
# A search among so many rows takes half a minute, and their index as long as 60 searches.
EXACT_ROWS = 1_000_000


@dataclasses.dataclass(frozen=True)
class _Query:
    """The query of a search.

    Attributes:
      image: The location of an image; None to search with a row that is there.
      key: The key of a row; None where the URI tells it.
      uri: The URI of a row.
      model: The module to use instead of the one that the run names.
      allow_private_hosts: Whether the image may be fetched from private addresses.
    """

    image: str | None
    key: str | None
    uri: str | None
    model: str | None
    allow_private_hosts: bool


def search(
    path: str,
    query: str | None = None,
    *,
    key: str | None = None,
    uri: str | None = None,
    k: int = 10,
    model: str | None = None,
    index: Literal["auto", "always", "never"] = "auto",
    features: str | None = None,
    allow_private_hosts: bool = False,
) -> list[Neighbour]:
    """Finds the images that are nearest to one, by the cosine of their vectors.

    The committed runs that can be compared with the latest one are searched, of each image the
    latest row.

    Args:
      path: A dataset's directory, or a run's.
      query: The location of an image, which goes through the model and preprocessing of the run.
      key: Instead of it, the key of a row that is there.
      uri: Instead of it, the URI of a row that is there.
      k: The number of images to find.
      model: The handle of the run's module, where the one that run.json names cannot be had.
      index: Whether to make and use an approximate index beside the dataset; "auto" does for
        more than a million rows, if the extra [search] is installed.
      features: The name of the model whose vectors are searched; None is the only one.
      allow_private_hosts: Whether the image may be fetched from loopback and private addresses.

    Returns:
      The nearest images, the nearest first.

    Raises:
      UsageError: the dataset, the query or the model cannot be used.
    """
    if sum(bool(given) for given in (query, key, uri)) != 1:
        raise UsageError("Give one of QUERY, --key and --uri; see image-features search --help.")
    if k < 1:
        raise UsageError(f"-k {k} must be above 0.")
    path = absolute(path)
    asked = _Query(query, key, uri, model, allow_private_hosts)
    try:
        runs = open_series(path, features).runs
        _ = runs[0].vector  # There must be one, and one only.
        vector, without = _vector(asked, path, runs)
        return _method(path, runs, index)(vector, k, without)
    except UsageError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be searched: {explain(error)}.") from error


def _vector(query: _Query, path: str, runs: Sequence[Run]) -> tuple[Floats, str]:
    """Returns the vector to search with, and the key that must not be its own neighbour."""
    if query.image:
        return _embed(_absolute(query.image), query, runs[0]), ""
    key = query.key.lower() if query.key else image_key(_absolute(query.uri or ""))
    if len(key) != 32 or set(key) - set("0123456789abcdef"):
        raise UsageError(f"--key={query.key} is no key: those have 32 hexadecimal digits.")
    vector = find_vector(runs, key)
    if vector is None:
        asked = f"the key {key}" if query.key else redact_uri(query.uri or "")
        raise UsageError(f"{path} has no row of {asked}; to search with an image, give it.")
    return vector, key


def _absolute(uri: str) -> str:
    return resolve_uri(expand_home(uri), f"{os.getcwd()}/")


def _embed(uri: str, query: _Query, latest: Run) -> Floats:
    """Computes the vector of a new image in the way of the run."""
    made = latest.provenance.models[latest.vector.model]
    handle = query.model or made.handle
    try:
        model = prepare(
            handle,
            engine=made.engine,
            precision=made.precision,
            scaling=made.scaling,
            allow_probabilities=True,  # The dataset is there.
        )
        if model.content_hash != made.content_hash:
            raise UsageError(
                f"The model {redact_uri(handle)!r} has the content hash "
                f"{model.content_hash:.12}, but "
                f"{latest.directory} was made with {made.content_hash:.12}; give that one with "
                "--model."
            )
        function = load(model)
    except ModelError as error:
        raise UsageError(f"--model={redact_uri(handle)} cannot be used: {error}") from error
    pixels = _pixels(uri, latest, query.allow_private_hosts)
    return np.asarray(function(pixels[np.newaxis])[0], np.float32)


def _pixels(uri: str, latest: Run, private_hosts: bool) -> npt.NDArray[np.uint8]:
    policy = latest.provenance.decode
    http = HttpPolicy(allow_private_hosts=private_hosts)
    fetch = FetchPolicy(
        http=http,
        max_bytes=policy.max_bytes,
        threads=1,
        archives=latest.provenance.archives,
    )
    with ImageReader(decode=policy, fetch=fetch) as reader:
        image = reader.read(ImageRef(uri, image_key(uri)))
    if isinstance(image, ImageError):
        named = image.stage is Stage.FETCH
        raise UsageError(image.message if named else f"{redact_uri(uri)}: {image.message}")
    wanted = policy.image_sizes.index(latest.provenance.models[latest.vector.model].image_size)
    return (image.pixels, *image.further)[wanted]


def _method(
    path: str, runs: Sequence[Run], index: str
) -> Callable[[Floats, int, str], list[Neighbour]]:
    def exact(query: Floats, count: int, without: str) -> list[Neighbour]:
        return nearest(runs, query, count, without)

    large = sum(run.rows for run in runs) > EXACT_ROWS
    installed = importlib.util.find_spec("usearch") is not None
    if index == "always" and not installed:
        raise UsageError(
            "--index=always needs usearch: install the extra [search], "
            "by pip install 'image-feature-extractor[search]'."
        )
    if index == "never" or (index == "auto" and not large):
        return exact
    if not installed:
        _LOG.info("Compares with every row; the extra [search] brings an index for so many.")
        return exact
    if not any(run.rows for run in runs):
        return exact
    return open_index(path, runs).nearest
