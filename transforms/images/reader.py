"""One image at a time from its location to its pixels, as a run would extract it."""

from __future__ import annotations

from types import TracebackType

from image_features.transforms.images.children import end_children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.images.picture import Pixels, lift_pillow_limit
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, Stage


class ImageReader:
    """Fetches and decodes images for whoever needs a few of them outside of a pipeline.

    It may be used from several threads. At the end of a `with` block it closes its connections, and
    ends the processes that decode.

    Args:
      decode: How a file becomes pixels.
      fetch: How a file is fetched.
    """

    def __init__(self, *, decode: DecodePolicy, fetch: FetchPolicy) -> None:
        self._policy = decode
        self._fetcher = Fetcher(fetch)
        lift_pillow_limit()

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._fetcher.close()
        end_children()

    def read(self, ref: ImageRef) -> Pixels | ImageError:
        """Returns an image's pixels, or the error that a run would have recorded; never raises."""
        encoded = self._fetcher.fetch(ref)
        return encoded if isinstance(encoded, ImageError) else decode(encoded, self._policy)


def decode(image: EncodedImage, policy: DecodePolicy) -> Pixels | ImageError:
    """Returns the pixels of a fetched image, or the error row that stands for it."""
    try:
        return decode_image(image.data, policy)
    except DecodeError as error:
        return ImageError(image.ref, Stage.DECODE, error.reason, error.message, image.attempts)
