"""The strips and tiles of a TIFF, as numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.tiff_codecs import decompressed
from image_features.transforms.images.headers.header import Header, Sample
from image_features.transforms.images.headers.tiff_page import (
    FILL_ORDER,
    TILE_WIDTH,
    WEBP,
    TiffPage,
)
from image_features.transforms.values import Reason

_LETTERS = {Sample.UNSIGNED: "u", Sample.SIGNED: "i", Sample.FLOAT: "f"}
# A strip may be the whole picture: what is made of it is made of so many samples at once.
_BAND = 2**20
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A strip or tile, or some rows of it.

    Attributes:
      top: The row of the picture at which it begins.
      left: The column of the picture at which it begins.
      plane: The sample that it has of each pixel; None if it has all.
      values: Numbers [height, width, samples], cut to the picture.
    """

    top: int
    left: int
    plane: int | None
    values: npt.NDArray[Any]


def read_parts(page: TiffPage, header: Header, planes: Collection[int | None]) -> Iterator[Part]:
    """Yields the strips or tiles of a page, in bands, whose compression knows nothing of samples.

    Where Pillow is told to load truncated images, what is missing is left out.

    Args:
      page: The page.
      header: What the file says of its pixels.
      planes: The samples that are wanted, if each is stored on its own.

    Raises:
      DecodeError: a strip or tile is damaged or not all there.
      struct.error: the file ends within the places of strips or tiles.
    """
    reader = _Reader(page, header)
    each = page.columns * page.rows
    for index in range(page.segments):
        plane, within = divmod(index, each)
        if page.planar and plane not in planes:
            continue
        row, column = divmod(within, page.columns)
        top, left = row * page.down, column * page.across
        try:
            values = reader.numbers(index, page.height - top)
        except DecodeError:
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                continue
            raise
        values = values[: page.height - top, : page.width - left]
        band = max(1, _BAND // (values[:1].size or 1))
        for down in range(0, len(values), band):
            yield Part(top + down, left, plane if page.planar else None, values[down : down + band])


class _Reader:
    def __init__(self, page: TiffPage, header: Header) -> None:
        self._page, self._header = page, header
        self._samples = 1 if page.planar else page.samples
        self._row = page.across * self._samples
        self._packed = (self._row * header.bits + 7) // 8
        self._row_bytes = self._packed
        if 8 < header.bits < 16 and self._has_words():
            self._row_bytes = 2 * self._row

    def numbers(self, index: int, rows_left: int) -> npt.NDArray[Any]:
        """Returns a strip or tile as numbers [height, width, samples].

        Raises:
          DecodeError: it is damaged or not all there.
        """
        page = self._page
        rows = page.down if TILE_WIDTH in page.tags else min(page.down, rows_left)
        content, ends_early = self._content(index, self._row_bytes, rows)
        found = min(rows, len(content) // self._row_bytes)
        if found < rows and not ImageFile.LOAD_TRUNCATED_IMAGES:
            raise DecodeError(
                Reason.TRUNCATED,
                f"Strip or tile {index} of the TIFF has {found} rows of pixels, of {rows}"
                + ("; the file ends before." if ends_early else "."),
            )
        values = self._unpacked(memoryview(content)[: found * self._row_bytes])
        return self._unpredicted(values.reshape(found, page.across, self._samples))

    def _has_words(self) -> bool:
        """Tells whether samples of 9 to 15 bits are stored in 16 each, as some writers do.

        Only the number of bytes says it.
        """
        rows, words = self._page.down, 2 * self._row
        if words == self._packed:
            return False
        if self._page.compression == 1:
            return self._page.places[0][1] == words * rows
        try:
            return len(self._content(0, words, rows)[0]) == words * rows
        except DecodeError:
            return False

    def _content(self, index: int, row_bytes: int, rows: int) -> tuple[bytes | bytearray, bool]:
        """Returns the bytes of so many rows of a strip or tile, and whether the file is cut."""
        page = self._page
        offset, count = page.places[index]
        is_plain = page.compression == 1
        if not offset:
            count = 0  # No strip or tile can be there: the writer has left it out.
        elif not count or (is_plain and page.segments == 1):
            # As libtiff does where the count is missing, or is wrong as that of one strip may be.
            count = rows * row_bytes if is_plain else len(page.tags.data) - offset
        if is_plain:
            count = min(count, rows * row_bytes)
        content = page.tags.data[offset : offset + count]
        ends_early = len(content) < count
        if page.tags.number(FILL_ORDER, 1) == 2:
            content = content.translate(_REVERSED)
        if is_plain or not content:
            return content, ends_early
        try:
            if page.compression == WEBP:
                return self._webp(content, rows), ends_early
            return decompressed(page.compression, content, row_bytes, rows), ends_early
        except MemoryError:
            raise
        except Exception as error:  # Each codec has an error of its own.
            raise DecodeError(
                Reason.TRUNCATED if ends_early else Reason.CORRUPT,
                f"Strip or tile {index} of the TIFF cannot be decoded: {error}",
            ) from error

    def _webp(self, content: bytes, rows: int) -> bytes:
        import imagecodecs

        # Its own size must be that of the strip or tile, or the decoder refuses.
        out = np.empty((rows, self._page.across, self._samples), np.uint8)
        imagecodecs.webp_decode(content, hasalpha=self._samples == 4, out=out)
        return out.tobytes()

    def _unpacked(self, content: memoryview) -> npt.NDArray[Any]:
        bits, sample, order = self._header.bits, self._header.sample, self._page.tags.order
        if self._row_bytes != self._packed:
            values = np.frombuffer(content, order + "u2").astype(np.uint16)
            if values.size and values.max() >> bits:
                raise DecodeError(
                    Reason.CORRUPT, f"Samples of the TIFF are larger than {bits} bits."
                )
            return values
        if self._page.predictor == 3:  # Its bytes have an order of their own.
            return np.frombuffer(content, f"=f{bits // 8}")
        if bits in (8, 16, 32, 64):
            values = np.frombuffer(content, f"{order}{_LETTERS[sample]}{bits // 8}")
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        import imagecodecs

        if sample is Sample.FLOAT:
            unpacked = imagecodecs.float24_decode(
                bytes(content), byteorder="<" if order == "<" else ">"
            )
        else:
            dtype = np.dtype(np.uint8 if bits < 8 else np.uint16)
            unpacked = imagecodecs.packints_decode(bytes(content), dtype, bits, runlen=self._row)
        return np.asarray(unpacked)

    def _unpredicted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        predictor = self._page.predictor
        if predictor == 1 or not values.size:
            return values
        import imagecodecs

        if predictor == 3:
            return np.asarray(imagecodecs.floatpred_decode(values, axis=-2))
        # Differences are those of integers, also between floats.
        differences = values.view(f"=u{values.dtype.itemsize}")
        summed = np.asarray(imagecodecs.delta_decode(differences, axis=-2))
        return summed.view(values.dtype)
