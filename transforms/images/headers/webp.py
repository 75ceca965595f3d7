"""WebP: what the chunks of its RIFF container say (RFC 9649)."""

from __future__ import annotations

import dataclasses
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.values import Reason

# A frame an image of the longest animation, and some for what is said about it.
_MOST_CHUNKS = 100_000
# So many compressed bytes take as long as a step, when hardly any is for a pixel.
_BYTES_A_STEP = 50
# The sets of codes that a picture may have, the bits of the shortest, and the bytes of its tables.
_MOST_CODES, _SHORTEST_CODES, _CODES_BYTES = 65536, 20, 5700
_IS_ANIMATED = 0x02
_VP8, _VP8L, _VP8X, _ALPH, _ANMF = b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANMF"
_ABOUT = frozenset({b"ICCP", b"EXIF"})
_Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """The picture of a file, or the first of its frames.

    Attributes:
      canvas: The (width, height) of the canvas.
      corner: The (left, top) of the frame on the canvas.
      size: The (width, height) that the compressed pixels have.
      has_alpha: Whether pixels may be transparent.
      kind: The name of the chunk with the compressed pixels.
      pixels: The first and the last byte of that chunk's data.
      alpha: Those of the chunk with the alpha; None if there is none.
      about: Those of the chunks with a profile and EXIF, by name.
      count: The number of chunks.
    """

    canvas: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]
    has_alpha: bool
    kind: bytes
    pixels: _Span
    alpha: _Span | None
    about: dict[bytes, _Span]
    count: int


def is_webp(data: bytes) -> bool:
    """Tells whether a file is a WebP, or may be the beginning of one."""
    form = data[8:12]
    return data.startswith(b"RIFF") and form != b"" and b"WEBP".startswith(form)


def read_webp(data: bytes) -> Header:
    """Reads what a WebP says of its picture.

    Raises:
      DecodeError: the file has no picture, or contradicts itself.
      struct.error: it ends before the size of its picture.
    """
    frame = find_frame(data)
    lossless = frame.kind == _VP8L
    return Header(
        "webp",
        *frame.canvas,
        Colour.RGB if lossless else Colour.YCBCR,
        alpha=Alpha.STRAIGHT if frame.has_alpha or frame.size != frame.canvas else Alpha.NONE,
        coding="lossless" if lossless else "lossy",
        passes=4 if lossless else 2,
        steps=frame.count + (frame.pixels[1] - frame.pixels[0]) // _BYTES_A_STEP,
        pixel_bytes=13 + (_table_bytes(frame) // max(1, frame.size[0] * frame.size[1])),
    )


def _table_bytes(frame: Frame) -> int:
    """Returns the most memory that the tables of a frame's codes may take.

    Without loss each block of 4 x 4 pixels may have codes of its own, of which the shortest take 20
    bits in the file.
    """
    if frame.kind != _VP8L:
        return 0
    width, height = frame.size
    blocks = -(-width // 4) * -(-height // 4)
    said = 8 * (frame.pixels[1] - frame.pixels[0]) // _SHORTEST_CODES
    return _CODES_BYTES * min(_MOST_CODES, blocks, said)


def find_frame(data: bytes) -> Frame:
    """Finds the first frame of a WebP; raises as `read_webp` does."""
    chunks, count = _chunks(data, 12, len(data), {})
    extended = chunks.get(_VP8X)
    if extended is None or not struct.unpack_from("<B", data, extended[0])[0] & _IS_ANIMATED:
        box = None
        inner = chunks
    else:
        if _ANMF not in chunks:
            raise _cut_or_corrupt(data, "no frame")
        start, end = chunks[_ANMF]
        box = tuple(_u24(data, start + 3 * i) for i in range(4))
        inner, more = _chunks(data, start + 16, min(end, len(data)), {})
        count += more
    kind = _VP8L if _VP8L in inner and _VP8 not in inner else _VP8
    if kind not in inner:
        raise _cut_or_corrupt(data, "no pixels (VP8, VP8L)")
    pixels = inner[kind]
    size, has_alpha = (_lossless if kind == _VP8L else _lossy)(data, pixels[0])
    alpha = inner.get(_ALPH) if kind == _VP8 else None
    canvas, corner = size, (0, 0)
    if extended is not None:
        canvas = (1 + _u24(data, extended[0] + 4), 1 + _u24(data, extended[0] + 7))
    if box is not None:
        corner = (2 * box[0], 2 * box[1])
        if size != (1 + box[2], 1 + box[3]):
            raise _contradiction(size, (1 + box[2], 1 + box[3]))
        if corner[0] + size[0] > canvas[0] or corner[1] + size[1] > canvas[1]:
            raise DecodeError(Reason.CORRUPT, "The WebP's first frame is not on its canvas.")
    elif size != canvas:
        raise _contradiction(size, canvas)
    about = {name: chunks[name] for name in _ABOUT if name in chunks}
    has_alpha = has_alpha or alpha is not None
    return Frame(canvas, corner, size, has_alpha, kind, pixels, alpha, about, count)


def _chunks(
    data: bytes, position: int, end: int, found: dict[bytes, _Span]
) -> tuple[dict[bytes, _Span], int]:
    """Finds the first chunk of each name, and how many chunks there are."""
    count = 0
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, position)
        found.setdefault(name, (position + 8, position + 8 + length))
        position += 8 + length + length % 2
        count += 1
        if count > _MOST_CHUNKS:
            raise DecodeError(
                Reason.TOO_COSTLY, f"The WebP consists of more than {_MOST_CHUNKS} chunks."
            )
    return found, count


def _lossy(data: bytes, start: int) -> tuple[tuple[int, int], bool]:
    tag, code, width, height = struct.unpack_from("<3s3sHH", data, start)
    if tag[0] & 1 or code != b"\x9d\x01\x2a":
        raise DecodeError(Reason.CORRUPT, "The WebP's pixels (VP8) do not begin with a key frame.")
    return (width & 0x3FFF, height & 0x3FFF), False


def _lossless(data: bytes, start: int) -> tuple[tuple[int, int], bool]:
    signature, bits = struct.unpack_from("<BI", data, start)
    if signature != 0x2F or bits >> 29:
        raise DecodeError(Reason.CORRUPT, "The WebP's pixels (VP8L) have a damaged header.")
    return (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)), bool(bits >> 28 & 1)


def _u24(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)


def _contradiction(size: tuple[int, int], said: tuple[int, int]) -> DecodeError:
    return DecodeError(
        Reason.CORRUPT,
        f"The WebP says that it is {said[0]} x {said[1]} pixels, and has {size[0]} x {size[1]}.",
    )


def _cut_or_corrupt(data: bytes, lacks: str) -> DecodeError:
    said = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < said:
        return DecodeError(Reason.TRUNCATED, f"The WebP ends early and has {lacks}.")
    return DecodeError(Reason.CORRUPT, f"The WebP has {lacks}.")
