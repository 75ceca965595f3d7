"""Small pictures of images that are read again from where they were."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.reader import ImageReader
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.values import ImageError, ImageRef

_SIDE = 96
_QUALITY = 75
_THREADS = 16
_HTTP = HttpPolicy(
    connect_timeout=3.0, read_timeout=5.0, total_timeout=10.0, retries=RetryPolicy(max_attempts=1)
)


def read_thumbnails(uris: Sequence[str], seconds: float = 60.0) -> list[str | None]:
    """Returns a data URI for each image, or None for one that cannot be had.

    No private host is asked, since nobody has vouched for the URIs of a dataset.

    Args:
      uris: The locations of the images, as stored.
      seconds: The time after which no other image is begun.
    """
    policy = DecodePolicy(image_size=(_SIDE, _SIDE), resize="center_crop")
    reader = ImageReader(decode=policy, fetch=FetchPolicy(http=_HTTP, threads=_THREADS))
    deadline = time.monotonic() + seconds

    def read(uri: str) -> str | None:
        if time.monotonic() > deadline:
            return None
        image = reader.read(ImageRef(uri, ""))
        if isinstance(image, ImageError):
            return None
        out = io.BytesIO()
        Image.fromarray(image.pixels).save(out, "JPEG", quality=_QUALITY, optimize=True)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

    with reader, ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, uris))
