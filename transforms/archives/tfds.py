"""What tensorflow_datasets says of its files, in the features.json beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import Any

from image_features.transforms.stores.files import open_plain, reason_of
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import is_http, redact_uri
from image_features.transforms.values import Reason

_LARGEST = 2**22
_NESTED = "features_dict.FeaturesDict"
_LISTS = ("sequence_feature.Sequence", "dataset_feature.Dataset")
_IMAGE = "image_feature.Image"
_MOVING = "video_feature.Video"
# They are bits of floats in the guise of bytes.
_FLOATS = ("float32", "float64", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Described:
    """The features of a data set that hold images.

    Attributes:
      images: The names of those that hold one encoded image.
      unread: The names of those that hold images which are not read, with what they are.
    """

    images: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()


def describe(archive: str) -> Described:
    """Returns what the features.json beside a file tells, which may be of another purpose.

    Servers on http(s) are not asked, since they list nothing and guard each request.

    Raises:
      FetchError: it is there and cannot be read.
    """
    directory, separator, _ = archive.rpartition("/")
    return _of_directory(directory + separator) if not is_http(archive) else Described()


@functools.lru_cache(maxsize=64)
def _of_directory(directory: str) -> Described:
    location = f"{directory}features.json"
    try:
        with contextlib.closing(open_plain(location)) as file:
            text = file.read(_LARGEST)
    except Exception as error:  # Beam's file systems raise anything.
        if reason_of(error) is Reason.NOT_FOUND:
            return Described()
        message = f"{redact_uri(location)} cannot be read: {error}"
        raise FetchError(Reason.READ_FAILED, message) from error
    try:
        found = list(_leaves("", json.loads(text), in_list=False))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return Described()
    return Described(
        tuple(name for name, problem in found if not problem),
        tuple((name, problem) for name, problem in found if problem),
    )


def _leaves(name: str, node: Any, *, in_list: bool) -> Iterator[tuple[str, str]]:
    """Yields the images of a tree of features, with why they are not read or an empty text."""
    if isinstance(node, str):
        node = json.loads(node)
    # Version 4.2 has called the first `type`, and the rest of a node its `content`.
    kind = ".".join(str(_member(node, "pythonClassName", "type")).split(".")[-2:])
    if kind == _NESTED:
        below = _member(node, "featuresDict", "content")
        for key, leaf in below.get("features", below).items():
            yield from _leaves(f"{name}/{key}" if name else key, leaf, in_list=in_list)
    elif kind in _LISTS:
        below = _member(node, "sequence", "dataset", "content")
        yield from _leaves(name, below.get("feature", below), in_list=True)
    elif kind == _MOVING:
        yield name, "a video"
    elif kind == _IMAGE:
        dtype = _member(node, "image", "content").get("dtype", "")
        if in_list:
            yield name, "a list of images"
        else:
            yield name, f"an image of {dtype}" if dtype in _FLOATS else ""


def _member(node: dict[str, Any], *names: str) -> Any:
    return next((node[name] for name in names if name in node), {})
