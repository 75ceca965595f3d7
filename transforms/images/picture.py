"""The journey of one file to its pixels, within the process that calls."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.images.colour import to_rgb
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.avif import decode_avif
from image_features.transforms.images.decoders.bmp import decode_bmp, decode_icon
from image_features.transforms.images.decoders.gif import decode_gif
from image_features.transforms.images.decoders.heic import decode_heic
from image_features.transforms.images.decoders.jpeg import decode_deep_jpeg, decode_jpeg
from image_features.transforms.images.decoders.jpeg2000 import decode_jpeg2000
from image_features.transforms.images.decoders.png import decode_png
from image_features.transforms.images.decoders.pnm import decode_pnm
from image_features.transforms.images.decoders.tiff import decode_libtiff, decode_tiff
from image_features.transforms.images.decoders.webp import decode_webp
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.ico import best_picture
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.orientation import TRANSPOSED, turn
from image_features.transforms.images.policy import DecodePolicy, memory_for
from image_features.transforms.images.raster import Raster
from image_features.transforms.images.resizing import resize
from image_features.transforms.images.rules.rule import Decoder
from image_features.transforms.images.table import rule_for
from image_features.transforms.values import Reason


def _decode_enclosed(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the PNG within an icon as the file of its own that it is."""
    enclosed = data[best_picture(data) :]
    inner = read_header(enclosed)
    return _DECODERS[rule_for(inner).decoder](enclosed, inner, policy)


_DECODERS: Mapping[Decoder, Callable[[bytes, Header, DecodePolicy], Raster]] = {
    Decoder.JPEG: decode_jpeg,
    Decoder.DEEP_JPEG: decode_deep_jpeg,
    Decoder.PNG: decode_png,
    Decoder.GIF: decode_gif,
    Decoder.WEBP: decode_webp,
    Decoder.TIFF: decode_tiff,
    Decoder.LIBTIFF: decode_libtiff,
    Decoder.BITMAP: decode_bmp,
    Decoder.ICON: decode_icon,
    Decoder.ENCLOSED: _decode_enclosed,
    Decoder.NETPBM: decode_pnm,
    Decoder.JPEG2000: decode_jpeg2000,
    Decoder.AVIF: decode_avif,
    Decoder.HEIC: decode_heic,
}
_TRUNCATED_WORDS = (
    "truncated",
    "not enough data",
    "not enough image data",
    "unexpected end",
    "broken data stream",
)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A decoded image.

    Attributes:
      pixels: uint8 [height, width, 3], RGB, at the policy's size.
      format: Pillow's name of the format in lower case.
      width: The width of the original in pixels, after EXIF orientation.
      height: The height of the original in pixels, after EXIF orientation.
      further: The same at each of the policy's further sizes.
      of_preview: Whether they are those of a preview, and the picture itself was not looked at.
    """

    pixels: npt.NDArray[np.uint8]
    format: str
    width: int
    height: int
    further: tuple[npt.NDArray[np.uint8], ...] = ()
    of_preview: bool = False


def decode_picture(data: bytes, header: Header, policy: DecodePolicy) -> Pixels:
    """Decodes a file by its row of the table, turns it upright, makes it RGB and resizes it.

    Raises:
      DecodeError: the file gives no pixels, whatever is wrong with it.
    """
    decoder = _DECODERS[rule_for(header).decoder]
    try:
        return finished(decoder(data, header, policy), header, policy)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:  # Decoders may raise anything.
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise _too_large(header) from error
        raise _damage(error) from error


def finished(raster: Raster, header: Header, policy: DecodePolicy) -> Pixels:
    """Makes of decoded samples what the model sees.

    Args:
      raster: The samples.
      header: The header of the picture, which may be larger than the samples.
      policy: How they are resized.
    """
    late = _is_converted_last(raster, policy)
    first, last = (b"", raster.profile) if late else (raster.profile, b"")
    upright = turn(to_rgb(raster.image, policy.background, first), raster.orientation)
    pixels, *further = (
        _array(to_rgb(resize(upright, size, policy), policy.background, last))
        for size in policy.image_sizes
    )
    width, height = header.shown or (header.width, header.height)
    if raster.orientation in TRANSPOSED:
        width, height = height, width
    return Pixels(pixels, header.format, width, height, tuple(further))


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Returns an RGB image as uint8 [height, width, 3], which cannot be written to."""
    # NumPy would ask for all interfaces that there are before it comes to the same bytes.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def _is_converted_last(raster: Raster, policy: DecodePolicy) -> bool:
    """Tells whether a profile is applied to the few pixels of the result in place of all.

    A picture that is wholly its own may be scaled before, in the colours of its profile.
    """
    return (
        policy.decode != "exact"
        and policy.resize != "pad"
        and raster.image.mode == "RGB"
        and "transparency" not in raster.image.info
    )


def lift_pillow_limit() -> None:
    """Leaves the limit of pixels to the policy: Pillow's own would refuse what that allows."""
    Image.MAX_IMAGE_PIXELS = None


def _too_large(header: Header) -> DecodeError:
    return DecodeError(
        Reason.TOO_COSTLY,
        f"The image takes more than {memory_for(header.pixels)} bytes of memory to decode, more "
        "than any of its size should, or this machine has no more.",
    )


def _damage(error: Exception) -> DecodeError:
    text = str(error) or type(error).__name__
    cut = isinstance(error, EOFError | struct.error) or any(
        word in text.lower() for word in _TRUNCATED_WORDS
    )
    reason = Reason.TRUNCATED if cut else Reason.CORRUPT
    return DecodeError(reason, f"The image cannot be decoded: {text[:300]}")
