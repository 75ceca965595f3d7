"""Bitmaps, in a file of their own or in an icon, by numpy.

Pillow does not know all masks, scrambles some run lengths, and takes memory for what they skip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.rle import decode_runs
from image_features.transforms.images.headers.bmp import Bitmap, parse_bmp
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.ico import best_picture, icon_bitmap
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

_Bytes = npt.NDArray[np.uint8]
# Rows are taken together up to so many pixels, so that no step needs much memory.
_BAND = 2**20


def decode_bmp(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a bitmap."""
    bitmap = parse_bmp(data)
    return Raster(_decoded(data, bitmap, policy.allow_truncated), bitmap.profile)


def decode_icon(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the largest picture of an icon that is a bitmap; its mask says what is to be seen."""
    bitmap = icon_bitmap(data, best_picture(data))
    image = _decoded(data, bitmap, policy.allow_truncated)
    if image.mode == "RGBA":
        return Raster(image)
    image = image.convert("RGB")
    start = bitmap.pixels + bitmap.row * bitmap.height
    mask = dataclasses.replace(bitmap, bits=1, masks=(), pixels=start)
    # Pixels with room for alpha often come without a mask.
    lenient = policy.allow_truncated or bool(bitmap.masks and bitmap.masks[3])
    alpha = np.where(_indices(data, mask, lenient), np.uint8(0), np.uint8(255))
    image.putalpha(Image.fromarray(alpha))
    return Raster(image)


def _decoded(data: bytes, bitmap: Bitmap, lenient: bool) -> Image.Image:
    """Returns an image in RGB, RGBA or with a palette; rows that are not whole are grey."""
    whole = _whole_rows(data, bitmap)
    if bitmap.masks:
        pixels = _from_masks(data, bitmap, lenient)
        if bitmap.masks[3] and not pixels[..., 3].any():
            # Writers that know nothing of alpha leave it 0.
            pixels = pixels[..., :3]
        image = Image.fromarray(pixels)
    else:
        colours = _palette(data, bitmap)
        if bitmap.runs:
            runs, told = decode_runs(
                data, bitmap.pixels, bitmap.width, bitmap.height, bits=bitmap.bits, lenient=lenient
            )
            whole = told // bitmap.width
            indices = np.frombuffer(runs, np.uint8).reshape(bitmap.height, bitmap.width)
            indices = indices if bitmap.top_down else indices[::-1]
        else:
            indices = _indices(data, bitmap, lenient)
        image = Image.fromarray(indices)
        image.putpalette(colours.tobytes())
    if whole < bitmap.height:
        image = image if image.mode == "RGBA" else image.convert("RGB")
        rows = (whole, bitmap.height) if bitmap.top_down else (0, bitmap.height - whole)
        image.paste("#808080", (0, rows[0], bitmap.width, rows[1]))
    return image


def _whole_rows(data: bytes, bitmap: Bitmap) -> int:
    # Some writers leave out what fills the last row.
    filler = bitmap.row - (bitmap.width * bitmap.bits + 7) // 8
    return max(0, min(bitmap.height, (len(data) - bitmap.pixels + filler) // bitmap.row))


def _palette(data: bytes, bitmap: Bitmap) -> _Bytes:
    """Returns uint8 [256, 3]; an index without a colour is black."""
    size = bitmap.entries * bitmap.entry
    palette = data[bitmap.palette : bitmap.palette + size]
    if len(palette) < size:
        raise DecodeError(Reason.TRUNCATED, "The bitmap ends within its palette.")
    colours = np.zeros((256, 3), np.uint8)
    entries = np.frombuffer(palette, np.uint8).reshape(bitmap.entries, bitmap.entry)
    colours[: bitmap.entries] = entries[:, 2::-1]
    return colours


def _indices(data: bytes, bitmap: Bitmap, lenient: bool) -> _Bytes:
    """Returns uint8 [height, width]."""
    indices = np.empty((bitmap.height, bitmap.width), np.uint8)
    for rows, packed in _bands(data, bitmap, lenient):
        indices[rows] = _unpacked(packed, bitmap.bits)[:, : bitmap.width]
    return indices


def _from_masks(data: bytes, bitmap: Bitmap, lenient: bool) -> _Bytes:
    """Returns uint8 [height, width, 3], or 4 where there is alpha."""
    masks = bitmap.masks if bitmap.masks[3] else bitmap.masks[:3]
    size = bitmap.bits // 8
    out = np.zeros((bitmap.height, bitmap.width, len(masks)), np.uint8)
    for rows, packed in _bands(data, bitmap, lenient):
        parts = packed[:, : bitmap.width * size].reshape(-1, bitmap.width, size)
        words: npt.NDArray[np.uint32] | None = None
        for channel, mask in enumerate(masks):
            shift = (mask & -mask).bit_length() - 1
            most = mask >> shift if mask else 0
            if most == 255 and shift % 8 == 0:
                out[rows, :, channel] = parts[..., shift // 8]
            elif mask:
                if words is None:
                    words = _words(parts)
                # Of more than 16 bits the lower ones do not count, and would not fit when scaled.
                shift += max(0, most.bit_length() - 16)
                most = mask >> shift
                values = (words & np.uint32(mask)) >> np.uint32(shift)
                out[rows, :, channel] = (values * 255 + most // 2) // most
    return out


def _words(parts: _Bytes) -> npt.NDArray[np.uint32]:
    """Returns the bytes [..., size] of pixels as numbers, of which the first is the lowest byte."""
    words = np.zeros(parts.shape[:-1], np.uint32)
    for place in range(parts.shape[-1]):
        words |= parts[..., place].astype(np.uint32) << np.uint32(8 * place)
    return words


def _bands(data: bytes, bitmap: Bitmap, lenient: bool) -> Iterator[tuple[slice, _Bytes]]:
    """Yields rows of the picture, and their bytes from the upper one to the lower."""
    size = bitmap.height * bitmap.row
    packed = np.frombuffer(data, np.uint8)[bitmap.pixels : bitmap.pixels + size]
    missing = size - len(packed)
    if _whole_rows(data, bitmap) < bitmap.height and not lenient:
        raise DecodeError(Reason.TRUNCATED, f"The bitmap lacks its last {missing} bytes.")
    if missing:
        packed = np.concatenate([packed, np.zeros(missing, np.uint8)])
    packed = packed.reshape(bitmap.height, bitmap.row)
    packed = packed if bitmap.top_down else packed[::-1]
    step = max(1, _BAND // bitmap.width)
    for first in range(0, bitmap.height, step):
        rows = slice(first, first + step)
        yield rows, packed[rows]


def _unpacked(packed: _Bytes, bits: int) -> _Bytes:
    """Returns the indices within the bytes of rows, the highest bits first."""
    if bits == 8:
        return packed
    if bits == 1:
        return np.unpackbits(packed, axis=1)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    indices = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return indices.reshape(len(packed), -1)
