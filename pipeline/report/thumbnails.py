"""Small pictures of images that are read again from where they were."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.picture import Pixels
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.reader import ImageReader, grouped
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.values import ImageError, ImageRef

_SIDE = 96
_QUALITY = 75
_THREADS = 16
_HTTP = HttpPolicy(
    connect_timeout=3.0, read_timeout=5.0, total_timeout=10.0, retries=RetryPolicy(max_attempts=1)
)


def read_thumbnails(
    uris: Sequence[str], seconds: float, archives: ArchiveOptions = FOUND
) -> list[str | None]:
    """Returns a data URI for each image, or None for one that cannot be had.

    No private host is asked, since nobody has vouched for the URIs of a dataset. What lies in one
    archive is read in one pass over it.

    Args:
      uris: The locations of the images, as stored.
      seconds: The time after which no other image is begun, and no archive is read further.
      archives: Which members or columns of archives are images.
    """
    policy = DecodePolicy(image_size=(_SIDE, _SIDE), resize="center_crop")
    fetch = FetchPolicy(http=_HTTP, threads=_THREADS, archives=archives)
    reader = ImageReader(decode=policy, fetch=fetch)
    deadline = time.monotonic() + seconds
    pictures: dict[str, str] = {}

    def read(refs: Sequence[ImageRef]) -> None:
        if time.monotonic() > deadline:
            return
        for ref, image in reader.read_together(refs, until=deadline):
            if not isinstance(image, ImageError):
                pictures[ref.uri] = _picture(image)

    refs = [ImageRef(uri, "") for uri in dict.fromkeys(uris)]
    with reader, ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, grouped(refs)))
    return [pictures.get(uri) for uri in uris]


def _picture(image: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(image.pixels).save(out, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
