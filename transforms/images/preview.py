"""The preview that stands for a JPEG: a small copy of it that a camera has put into the file.

It is taken where it is large enough for every model, has the picture's sides and begins like it. A
file that is no such JPEG, or whose preview is damaged, forgotten by an editor or too small, is
decoded as ever. What is looked at is the same however much of the file is at hand, so that the
same file always gives the same pixels.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.jpeg import decode_scaled, embedded, most_scale
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.jpeg import FRAMES, read_jpeg, segments
from image_features.transforms.images.headers.previews import preview_spans
from image_features.transforms.images.orientation import TRANSPOSED
from image_features.transforms.images.picture import Pixels, finished
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.images.rules.rule import Decoder
from image_features.transforms.images.table import rule_for
from image_features.transforms.stores.store import Excerpt, Read
from image_features.transforms.values import Reason

_KIB = 1024
# Cameras put a thumbnail into the first 64 KiB; few have so much to tell that the picture itself
# begins behind them.
_LENGTHS = (64 * _KIB, 256 * _KIB)
_MAGIC = b"\xff\xd8\xff"
# A preview costs as little as its bytes and pixels, and is worth it if it has few of the picture's.
_MOST_PIXELS = 4_000_000
_MOST_PASSES = 20
_SMALLER = 2
# Cameras put pictures of all shapes on a canvas of one, whose bars are black but for what coding
# leaves there. Where sides are rounded they are off by so many pixels.
_BLACK, _ROUNDED = 24, 1.0
# The picture's first rows are compared in so many parts, and may differ by so many levels.
_PARTS, _MOST_DIFFERENCE = 32, 24


def find_preview(read: Read, policy: DecodePolicy) -> tuple[Excerpt, Pixels] | None:
    """Returns what of a file is enough, and its pixels; None if all of the file is wanted.

    Args:
      read: Reads a part of the file.
      policy: How the preview becomes pixels.

    Raises:
      Exception: what `read` raises, and nothing else.
    """
    if policy.decode != "preview" or not policy.margin:
        return None
    if (opened := _opened(read, policy)) is None:
        return None
    beginning, header = opened
    for begin, end in _spans(beginning, header):
        excerpt = Excerpt(beginning, read(begin, end))
        if pixels := preview_pixels(excerpt, policy):
            return excerpt, pixels
    return None


def decode_preview(excerpt: Excerpt, policy: DecodePolicy) -> Pixels:
    """Returns the pixels of a preview that `find_preview` has found.

    Raises:
      DecodeError: there is no memory any more, or the policy is another one.
    """
    pixels = preview_pixels(excerpt, policy)
    if pixels is None:
        raise DecodeError(Reason.CORRUPT, "The preview cannot be decoded again.")
    return pixels


def preview_pixels(excerpt: Excerpt, policy: DecodePolicy) -> Pixels | None:
    """Returns the pixels of a preview; None if it cannot stand for the picture."""
    try:
        header = read_jpeg(excerpt.beginning)
        raster = _raster(excerpt, header, policy)
        if raster is None:
            return None
        return dataclasses.replace(finished(raster, header, policy), of_preview=True)
    except Exception:  # Decoders may raise anything. The picture itself may be sound.
        return None


def _opened(read: Read, policy: DecodePolicy) -> tuple[bytes, Header] | None:
    """Returns the beginning of a JPEG and its header, if a preview may stand for it at all."""
    for length in _LENGTHS:
        beginning = read(0, length)
        if not beginning.startswith(_MAGIC):
            return None
        try:
            header = read_jpeg(beginning)
        except (DecodeError, IndexError, struct.error):
            if len(beginning) < length:
                return None
            continue
        is_plain = header.colour in (Colour.GREY, Colour.RGB, Colour.YCBCR)
        is_read = is_plain and not header.unsupported and _is_decoded_by_pillow(header)
        return (beginning, header) if is_read and 0 < header.pixels <= policy.max_pixels else None
    return None


def _is_decoded_by_pillow(header: Header) -> bool:
    return not header.unsupported and rule_for(header).decoder is Decoder.JPEG


def _spans(beginning: bytes, header: Header) -> list[tuple[int, int]]:
    try:
        return list(preview_spans(beginning, header))
    except Exception:  # Readers may raise anything.
        return []


def _raster(excerpt: Excerpt, header: Header, policy: DecodePolicy) -> Raster | None:
    small = read_jpeg(excerpt.preview)
    if not _is_decoded_by_pillow(small) or not _is_cheap(small, header):
        return None
    profile, orientation = embedded(excerpt.beginning)
    own_profile, own_orientation = embedded(excerpt.preview)
    if own_orientation not in (1, orientation):
        return None
    width, height = _inner((small.width, small.height), header)
    inner = dataclasses.replace(small, width=round(width), height=round(height))
    most = most_scale(inner, policy, orientation in TRANSPOSED)
    if most < 1:
        return None
    if max(small.width - width, small.height - height) > _ROUNDED:
        most = 1  # The edges of bars would blur into the picture.
    image = _without_bars(decode_scaled(excerpt.preview, small, most), header)
    if image is None or not _begins_alike(image, excerpt.beginning, header):
        return None
    return Raster(image, own_profile or profile, orientation)


def _is_cheap(small: Header, header: Header) -> bool:
    is_smaller = max(small.width * _SMALLER - header.width, small.height * _SMALLER - header.height)
    return is_smaller <= 0 and small.pixels <= _MOST_PIXELS and small.passes <= _MOST_PASSES


def _inner(size: tuple[int, int], header: Header) -> tuple[float, float]:
    """Returns the (width, height) that the picture has on a canvas which it fits."""
    scale = min(size[0] / header.width, size[1] / header.height)
    return header.width * scale, header.height * scale


def _without_bars(image: Image.Image, header: Header) -> Image.Image | None:
    """Cuts black bars above and below, or at both sides; None if the shape is another one."""
    width, height = _inner(image.size, header)
    across, down = image.width - width, image.height - height
    if max(across, down) <= _ROUNDED:
        return image
    levels = np.asarray(image.convert("L"), np.float32)
    lines = levels.mean(axis=1 if down > across else 0)
    half = max(across, down) / 2
    first, last = _black(lines, half), _black(lines[::-1], half)
    if min(first, last) < int(half):
        return None
    if down > across:
        return image.crop((0, first, image.width, image.height - last))
    return image.crop((first, 0, image.width - last, image.height))


def _black(lines: npt.NDArray[np.float32], half: float) -> int:
    """Returns how many lines are black from the first one on, no more than a bar would have."""
    is_light = lines[: int(np.ceil(half))] > _BLACK
    return int(np.argmax(is_light)) if is_light.any() else len(is_light)


def _begins_alike(image: Image.Image, beginning: bytes, header: Header) -> bool:
    """Tells whether a preview has the first rows of the picture, as far as they are at hand.

    An editor that knows no previews leaves that of the picture as it was: upside down, uncropped
    or in other colours.
    """
    seen = _first_rows(beginning, header)
    # Where the file's beginning ends within them, the last colour goes on to the right.
    known = np.flatnonzero((seen != seen[:, -1:]).any(axis=(0, 2)))
    columns = max(known[-1] + 1 if len(known) else 0, -(-seen.shape[1] // _PARTS))
    share = columns / seen.shape[1]
    parts = int(_PARTS * share)
    shown = np.asarray(image.convert("RGB"), np.float32)
    top = [_in_parts(shown[row : row + 1], share, parts) for row in range(2)]
    wanted = _in_parts(seen[:, :columns].astype(np.float32), 1.0, parts)
    return bool(min(np.abs(row - wanted).mean() for row in top) <= _MOST_DIFFERENCE)


def _first_rows(beginning: bytes, header: Header) -> npt.NDArray[np.uint8]:
    """Decodes the first rows of blocks, at an eighth of their size."""
    frame = next(place for marker, place in segments(beginning) if marker in FRAMES)
    channels = beginning[frame + 9]
    rows = 8 * max(beginning[frame + 11 + 3 * channel] & 15 for channel in range(channels))
    rows = min(rows, header.height)
    place = frame + 5
    cut = beginning[:place] + rows.to_bytes(2, "big") + beginning[place + 2 :] + b"\xff\xd9"
    strip = decode_scaled(cut, dataclasses.replace(header, height=rows), 8)
    return np.asarray(strip.convert("RGB"))


def _in_parts(rows: npt.NDArray[np.float32], share: float, parts: int) -> npt.NDArray[np.float32]:
    """Returns the mean colours of parts of equal width, from the left on, [parts, 3]."""
    means = rows.mean(axis=0)[: max(parts, round(rows.shape[1] * share))]
    edges = np.arange(parts) * len(means) // parts
    counts = np.diff(edges, append=len(means)).astype(np.float32)
    sums: npt.NDArray[np.float32] = np.add.reduceat(means, edges, axis=0)
    return sums / counts[:, None]
