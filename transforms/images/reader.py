"""Few images from their locations to their pixels, as a run would extract them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from image_features.transforms.images.children import end_children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.images.picture import Pixels, lift_pillow_limit
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.preview import decode_preview
from image_features.transforms.stores.members import split_member
from image_features.transforms.stores.store import Excerpt
from image_features.transforms.values import (
    EncodedImage,
    ImageError,
    ImageRef,
    PackedRefs,
    Stage,
)


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
        return self._decode(self._fetcher.fetch(ref))

    def read_together(
        self, refs: Sequence[ImageRef], until: float = math.inf
    ) -> Iterator[tuple[ImageRef, Pixels | ImageError]]:
        """Yields what `read` returns for images of one archive, in one pass over it.

        Args:
          refs: The images; a file of its own is alone.
          until: When reading of an archive ends, by the monotonic clock.
        """
        packed = split_member(refs[0].uri)
        if packed is None:
            yield from ((ref, self.read(ref)) for ref in refs)
            return
        for encoded in self._fetcher.fetch_packed(PackedRefs(packed[0], tuple(refs)), until):
            yield encoded.ref, self._decode(encoded)

    def _decode(self, encoded: EncodedImage | ImageError) -> Pixels | ImageError:
        return encoded if isinstance(encoded, ImageError) else decode(encoded, self._policy)


def grouped(refs: Iterable[ImageRef]) -> list[list[ImageRef]]:
    """Returns images in groups to read together: those of a span of an archive, or one file."""
    groups: dict[object, list[ImageRef]] = {}
    for number, ref in enumerate(refs):
        packed = split_member(ref.uri)
        span = number if packed is None else (packed[0], ref.place and ref.place.span)
        groups.setdefault(span, []).append(ref)
    return [sorted(group, key=_lies_at) for group in groups.values()]


def _lies_at(ref: ImageRef) -> tuple[int, ...]:
    return ref.place or ()


def decode(image: EncodedImage, policy: DecodePolicy) -> Pixels | ImageError:
    """Returns the pixels of a fetched image, or the error row that stands for it."""
    try:
        if image.preview:
            return decode_preview(Excerpt(image.data, image.preview), policy)
        return decode_image(image.data, policy)
    except DecodeError as error:
        return ImageError(image.ref, Stage.DECODE, error.reason, error.message, image.attempts)
