"""PNG: what the chunks say (W3C, Portable Network Graphics, third edition)."""

from __future__ import annotations

import dataclasses
import struct

from image_features.transforms.archives.checksum import crc32
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.values import Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RAW_EXIF = b"Raw profile type exif\0"
# Writers that make the smallest chunks need some thousands for the largest pictures.
_MOST_CHUNKS = 500_000
# Compressed bytes that are nothing but tables of codes take as long as a step, so many of them.
_BYTES_A_STEP = 70
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# By the colour type: what samples mean, how many a pixel has, whether the last is alpha, and the
# bits that a sample may have.
_TYPES = {
    0: (Colour.GREY, 1, False, (1, 2, 4, 8, 16)),
    2: (Colour.RGB, 3, False, (8, 16)),
    3: (Colour.PALETTE, 1, False, (1, 2, 4, 8)),
    4: (Colour.GREY, 2, True, (8, 16)),
    6: (Colour.RGB, 4, True, (8, 16)),
}
# The (left, top, step across, step down) of the pixels in each pass of interlacing.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Chunks:
    """Where the chunks of a file are. A span is the first and the last byte of a chunk's data.

    Attributes:
      data: The file.
      spans: The first chunk of each kind; of texts only the one with EXIF, as b"tEXt" or the like.
      pixels: The IDAT chunks that follow each other.
      foreign: The first critical chunk before them that no decoder knows; empty if there is none.
      count: The number of chunks.
    """

    data: bytes
    spans: dict[bytes, _Span]
    pixels: list[_Span]
    foreign: bytes
    count: int

    def body(self, kind: bytes) -> bytes:
        """Returns the data of the first chunk of a kind; empty if there is none that is whole."""
        span = self.spans.get(kind)
        return self.data[slice(*span)] if span and self.is_whole(span) else b""

    def is_whole(self, span: _Span) -> bool:
        """Tells whether a chunk is all there, and has the CRC that it says."""
        start, end = span
        crc = self.data[end : end + 4]
        return int.from_bytes(crc) == crc32(memoryview(self.data)[start - 4 : end]) and (
            len(crc) == 4
        )


def find_chunks(data: bytes) -> Chunks:
    """Finds the chunks of a PNG, by a walk that ends at IEND or where the file is damaged.

    Raises:
      DecodeError: there are more chunks than any picture needs.
    """
    spans: dict[bytes, _Span] = {}
    pixels: list[_Span] = []
    foreign, last, count = b"", b"", 0
    position, size = len(SIGNATURE), len(data)
    head = struct.Struct(">I4s")
    while position + 8 <= size and last != b"IEND":
        length, kind = head.unpack_from(data, position)
        start, end = position + 8, position + 8 + length
        position = end + 4
        if kind == b"IDAT":
            if not pixels or last == kind:
                pixels.append((start, min(end, size)))
        elif not kind.isalpha():
            break
        elif kind in _TEXTS:
            if data.startswith(RAW_EXIF, start):
                spans.setdefault(kind, (start, end))
        else:
            spans.setdefault(kind, (start, end))
            if kind[0] < 0x60 and kind not in _CRITICAL and not pixels:
                foreign = foreign or kind
        last, count = kind, count + 1
        if count > _MOST_CHUNKS:
            raise DecodeError(
                Reason.TOO_COSTLY, f"The PNG consists of more than {_MOST_CHUNKS} chunks."
            )
    return Chunks(data, spans, pixels, foreign, count)


def read_png(data: bytes) -> Header:
    """Reads what a PNG's chunks say.

    Raises:
      DecodeError: they do not make a picture.
      struct.error: the file ends before its pixels.
    """
    if not data.startswith(SIGNATURE[: len(data)]):
        raise DecodeError(
            Reason.CORRUPT,
            "The PNG's first bytes are damaged, as by a transfer that has converted line ends.",
        )
    chunks = find_chunks(data)
    if not chunks.pixels:
        raise _without_pixels(chunks)
    header = chunks.body(b"IHDR")
    first_pixels = chunks.pixels[0][0]
    if len(header) != 13 or chunks.spans[b"IHDR"][0] > first_pixels:
        raise DecodeError(Reason.CORRUPT, "The header (IHDR) of the PNG is damaged.")
    width, height, bits, kind, compression, filters, interlace = struct.unpack(">IIBBBBB", header)
    colour, samples, has_alpha, depths = _TYPES.get(kind, (Colour.OTHER, 0, False, ()))
    if bits not in depths or compression or filters or interlace > 1:
        raise DecodeError(Reason.CORRUPT, "The header (IHDR) of the PNG says what no PNG has.")
    alpha = Alpha.STRAIGHT if has_alpha else Alpha.NONE
    if not has_alpha and chunks.spans.get(b"tRNS", (first_pixels,))[0] < first_pixels:
        alpha = Alpha.STRAIGHT if colour is Colour.PALETTE else Alpha.KEY
    return Header(
        "png",
        width,
        height,
        colour,
        bits,
        alpha=alpha,
        passes=_passes(colour, samples, bits, alpha),
        steps=chunks.count + (chunks.pixels[-1][1] - first_pixels) // _BYTES_A_STEP,
        pixel_bytes=_pixel_bytes(colour, bits, alpha),
        unsupported=_foreign(chunks.foreign),
    )


def size_of_rows(header: bytes) -> int:
    """Returns how many bytes the filtered rows of a file with this header (IHDR) are."""
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    size = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            size += max(0, rows) * (1 + -(-columns * bits * _TYPES[kind][1] // 8))
    return size


def _without_pixels(chunks: Chunks) -> DecodeError:
    ends = [end + 4 for _, end in chunks.spans.values()]
    if b"IEND" in chunks.spans or max(ends, default=len(SIGNATURE)) + 8 <= len(chunks.data):
        return DecodeError(Reason.CORRUPT, "The PNG has no pixels (IDAT).")
    return DecodeError(Reason.TRUNCATED, "The PNG ends before its pixels (IDAT).")


def _passes(colour: Colour, samples: int, bits: int, alpha: Alpha) -> int:
    """Estimates the work for a pixel by its bytes, which are inflated and then filtered."""
    bytes_ = -(-samples * bits // 8)
    if bits == 16 and colour is Colour.RGB:  # Its halves are decoded apart.
        bytes_ *= 2
    return 2 * bytes_ + (5 if alpha is Alpha.KEY else 0)


def _pixel_bytes(colour: Colour, bits: int, alpha: Alpha) -> int:
    """Estimates the memory for a pixel: while 16 bits become 8, or while colours are blended."""
    if alpha is not Alpha.NONE:
        return 14
    if bits == 16:
        return 12 if colour is Colour.RGB else 8
    return 8 if colour is Colour.RGB else 6


def _foreign(kind: bytes) -> str:
    if not kind:
        return ""
    if kind == b"CgBI":
        return "pixels as Apple's tools rewrite them (CgBI)"
    return f"a critical chunk ({kind.decode('ascii', 'replace')}) of no standard"
