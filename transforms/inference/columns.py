"""The values of an image column: encoded files, locations, pictures and arrays, as pixels."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.errors import ImageFeaturesError
from image_features.transforms.images.colour import to_rgb
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.fetcher import Fetcher
from image_features.transforms.images.orientation import orientation_of, turn, without_xmp
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.resizing import resize
from image_features.transforms.stores.uris import image_key, resolve_uri
from image_features.transforms.values import ImageError, ImageRef, Reason

Pixels = npt.NDArray[np.uint8]
_CHANNELS = (3, 4)


class ImageColumnError(ImageFeaturesError, ValueError):
    """An image column holds a value that gives no pixels; only its row fails.

    Attributes:
      reason: The word for it, from the closed vocabulary of error rows.
    """

    def __init__(self, column: str, reason: Reason, message: str) -> None:
        super().__init__(f"The column {column!r} holds no usable image ({reason}): {message}")
        self.reason = reason


def fetch_value(value: Any, fetcher: Fetcher) -> Any:
    """Replaces a location by the bytes there; other values stay as they are.

    Args:
      value: What the column holds. A str or a path is a location: a local path, file://, gs:// or
        http(s)://.
      fetcher: The client that fetches.

    Raises:
      DecodeError: the location cannot be read.
    """
    if not isinstance(value, str | os.PathLike):
        return value
    if not os.fspath(value):
        raise DecodeError(Reason.NOT_FOUND, "The location is empty.")
    uri = resolve_uri(os.fspath(value), f"{os.getcwd()}/")
    fetched = fetcher.fetch(ImageRef(uri, image_key(uri)))
    if isinstance(fetched, ImageError):
        raise DecodeError(fetched.reason, fetched.message)
    return fetched.data


def decode_value(value: Any, policy: DecodePolicy) -> Pixels:
    """Decodes a value to uint8 [height, width, 3] at the policy's size.

    Args:
      value: An encoded file (bytes), a PIL image, or a uint8 array [height, width],
        [height, width, 3] or [height, width, 4] (RGBA) of any size.
      policy: How to decode, convert and resize.

    Raises:
      DecodeError: the value is nothing of that kind, or cannot be decoded.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return decode_image(bytes(value), policy).pixels
    if isinstance(value, np.ndarray):
        value = _picture(value)
    if not isinstance(value, Image.Image):
        raise DecodeError(
            Reason.NOT_AN_IMAGE,
            f"A value of type {type(value).__name__} is neither an encoded file (bytes), a "
            "location (str), a PIL image nor a uint8 array.",
        )
    if value.width * value.height > policy.max_pixels:
        raise DecodeError(
            Reason.TOO_MANY_PIXELS,
            f"The image is {value.width} x {value.height} pixels, more than the "
            f"{policy.max_pixels} allowed; see max_megapixels.",
        )
    try:
        with without_xmp(value):
            value.load()  # An image that was only opened reads its file now.
        profile = value.info.get("icc_profile") or b""
        upright = turn(to_rgb(value, policy.background, profile), orientation_of(value))
        return np.asarray(resize(upright, policy.image_size, policy), np.uint8)
    except Exception as error:  # Pillow's decoders raise anything.
        raise DecodeError(
            Reason.CORRUPT, f"The image cannot be decoded: {str(error)[:300]}"
        ) from error


def _picture(pixels: npt.NDArray[Any]) -> Image.Image:
    colour = pixels.ndim == 3 and pixels.shape[2] in _CHANNELS
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or colour) or 0 in pixels.shape:
        raise DecodeError(
            Reason.NOT_AN_IMAGE,
            "An array must be uint8 [height, width], [height, width, 3] or [height, width, 4], "
            f"and this one is {pixels.dtype} {list(pixels.shape)}.",
        )
    return Image.fromarray(np.ascontiguousarray(pixels))
