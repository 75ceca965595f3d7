"""TIFF: our reader of strips and tiles around imagecodecs, and libtiff by way of Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.pillow import opened
from image_features.transforms.images.decoders.samples import Range, needs_range, to_eight_bits
from image_features.transforms.images.decoders.tiff_parts import Part, read_parts
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.images.headers.tiff_page import (
    CIE_LAB,
    COLOUR_MAP,
    PROFILE,
    TiffPage,
    read_page,
)
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

# libtiff reads all that comes to Pillow: only it converts YCbCr that is not compressed.
TiffImagePlugin.READ_LIBTIFF = True
_GREY = 128  # What is missing of a truncated file.
_NO_MEMORY = " -9"  # How Pillow's error ends then.
_COLOURS = {Colour.RGB: 3, Colour.LAB: 3, Colour.CMYK: 4}
_MODES = {
    (1, Alpha.NONE): "L",
    (1, Alpha.STRAIGHT): "LA",
    (1, Alpha.PREMULTIPLIED): "La",
    (3, Alpha.NONE): "RGB",
    (3, Alpha.STRAIGHT): "RGBA",
    (3, Alpha.PREMULTIPLIED): "RGBa",
    (4, Alpha.NONE): "CMYK",
}

_DEEP = 32


def decode_libtiff(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the first page of a TIFF by Pillow and libtiff."""
    page = read_page(data)
    # Pillow gets no orientation and no EXIF: it would turn the image by itself, by XMP too, and
    # fail where EXIF is damaged.
    with opened(page.alone(), header) as image:
        # What cannot be read stays grey.
        image.im = Image.new(image.mode, image.size, (_GREY,) * len(image.getbands())).im
        try:
            image.load()
        except OSError as error:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise _damage(page, error) from error
        return Raster(image, page.tags.content(PROFILE), page.orientation)


def _damage(page: TiffPage, error: OSError) -> Exception:
    if str(error).endswith(_NO_MEMORY):
        return MemoryError()
    end = len(page.tags.data)
    if any(offset + (count or 0) > end for offset, count in page.places):
        return DecodeError(Reason.TRUNCATED, "The TIFF ends within its pixels.")
    return DecodeError(Reason.CORRUPT, f"The TIFF cannot be decoded by libtiff: {error}.")


def decode_tiff(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the first page of a TIFF, strip by strip or tile by tile, to eight bits."""
    page = read_page(data)
    canvas = _Canvas(page, header)
    canvas.fill()
    image = Image.frombuffer(canvas.mode, (page.width, page.height), canvas.pixels, "raw")
    return Raster(image, page.tags.content(PROFILE), page.orientation)


class _Canvas:
    """The picture in eight bits, into which strips and tiles are put.

    Attributes:
      mode: Pillow's mode of the pixels.
      pixels: uint8 [height, width, channels].
    """

    def __init__(self, page: TiffPage, header: Header) -> None:
        self._page, self._header = page, header
        self._table = _colour_table(page) if header.colour is Colour.PALETTE else None
        colours = 3 if self._table is not None else _COLOURS.get(header.colour, 1)
        self._stored = 1 if self._table is not None else colours
        self.mode = "LAB" if header.colour is Colour.LAB else _MODES[colours, header.alpha]
        channels = colours + (page.alpha is not None)
        self.pixels = np.full((page.height, page.width, channels), _GREY, np.uint8)
        self._within: Range | None = None
        # Nobody agrees on what is white among signed numbers, so that their range tells it.
        self._depth = _DEEP if header.sample is Sample.SIGNED else header.bits
        if needs_range(self._depth, header.sample):
            within = Range()
            for part in self._parts():
                if part.plane is None or part.plane != page.alpha:
                    within = within.widened(part.values[..., : self._stored])
            self._within = within

    def fill(self) -> None:
        """Decodes all strips or tiles, which are no longer held when it returns."""
        for part in self._parts():
            self._put(part)

    def _parts(self) -> Iterator[Part]:
        return read_parts(self._page, self._header, {*range(self._stored), self._page.alpha})

    def _put(self, part: Part) -> None:
        height, width = part.values.shape[:2]
        place = self.pixels[part.top : part.top + height, part.left : part.left + width]
        alpha = self._page.alpha
        if part.plane is None:
            colours = place.shape[2] - (alpha is not None)
            place[..., :colours] = self._colours(part.values[..., : self._stored], 0)
            if alpha is not None:
                place[..., -1] = self._alpha(part.values[..., alpha])
        elif part.plane == alpha:
            place[..., -1] = self._alpha(part.values[..., 0])
        else:
            place[..., part.plane] = self._colours(part.values, part.plane)[..., 0]

    def _colours(self, values: npt.NDArray[Any], first: int) -> npt.NDArray[np.uint8]:
        header = self._header
        if self._table is not None:
            return self._table[values[..., 0]]
        if header.colour is Colour.LAB:
            return _lab(values, first, header.bits, self._page.photometric == CIE_LAB)
        return to_eight_bits(
            values,
            bits=self._depth,
            sample=header.sample,
            white_is_zero=header.colour is Colour.WHITE_IS_ZERO,
            within=self._within,
        )

    def _alpha(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        header = self._header
        return to_eight_bits(values, bits=header.bits, sample=header.sample, within=Range(0, 1))


def _lab(values: npt.NDArray[Any], first: int, bits: int, is_cie: bool) -> npt.NDArray[np.uint8]:
    """Returns Lab as Pillow takes it: L to 255, a and b signed, which the file may add 128 to."""
    out = np.empty(values.shape, np.uint8)
    for i in range(values.shape[2]):
        channel = values[..., i]
        if first + i == 0:
            out[..., i] = to_eight_bits(channel, bits=bits)
        elif bits == 8:
            out[..., i] = channel if is_cie else channel ^ 128
        else:  # The upper byte, which is signed or not as those of eight bits are.
            upper = (channel >> 8).astype(np.uint8)
            out[..., i] = upper if is_cie else upper ^ 128
    return out


def _colour_table(page: TiffPage) -> npt.NDArray[np.uint8]:
    size = 2 ** page.bits[0]
    numbers = np.array(page.tags.numbers(COLOUR_MAP, 3 * size), np.int64)
    if len(numbers) < 3 * size:
        raise DecodeError(Reason.CORRUPT, f"The TIFF's palette has less than {size} colours.")
    # Some writers count to 255 where the standard counts to 65,535.
    colours = to_eight_bits(numbers, bits=8 if numbers.max() < 256 else 16)
    return np.ascontiguousarray(colours.reshape(3, size).T)
