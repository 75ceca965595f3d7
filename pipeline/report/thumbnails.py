"""Small pictures of images that are read again from where they were."""

from __future__ import annotations

import base64
import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Pictured:
    """An image that a page shows.

    Attributes:
      uri: Its location, as stored.
      archives: Which members or columns of archives are images, as its run was told.
    """

    uri: str
    archives: ArchiveOptions = FOUND


def read_thumbnails(
    images: Sequence[Pictured], seconds: float, *, private_hosts: bool = False
) -> list[str | None]:
    """Returns a data URI for each image, or None for one that cannot be had.

    What lies in one archive is read in one pass over it.

    Args:
      images: The images.
      seconds: The time after which no other image is begun, and no archive is read further.
      private_hosts: Whether private hosts are asked, too; nobody has vouched for the URIs of a
        dataset.
    """
    deadline = time.monotonic() + seconds
    pictures: dict[Pictured, str] = {}
    for archives in dict.fromkeys(image.archives for image in images):
        alike = dict.fromkeys(image.uri for image in images if image.archives == archives)
        found = _read(list(alike), archives, deadline, private_hosts)
        pictures |= {Pictured(uri, archives): picture for uri, picture in found.items()}
    return [pictures.get(image) for image in images]


def _read(
    uris: Sequence[str], archives: ArchiveOptions, deadline: float, private_hosts: bool
) -> dict[str, str]:
    """Returns data URIs by the locations of images, of those that can be had."""
    policy = DecodePolicy(image_size=(_SIDE, _SIDE), resize="center_crop")
    http = dataclasses.replace(_HTTP, allow_private_hosts=private_hosts)
    fetch = FetchPolicy(http=http, threads=_THREADS, archives=archives)
    reader = ImageReader(decode=policy, fetch=fetch)
    pictures: dict[str, str] = {}

    def read(refs: Sequence[ImageRef]) -> None:
        if time.monotonic() > deadline:
            return
        for ref, image in reader.read_together(refs, until=deadline):
            if not isinstance(image, ImageError):
                pictures[ref.uri] = _picture(image)

    with reader, ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, grouped(ImageRef(uri, "") for uri in uris)))
    return pictures


def _picture(image: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(image.pixels).save(out, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
