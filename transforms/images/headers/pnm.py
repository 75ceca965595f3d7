"""PBM, PGM, PPM, PAM and PFM: what the lines before the samples say (netpbm's manual)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.values import Reason

# Headers have some dozen bytes, and comments.
_LONGEST = 2**16
_WORD = re.compile(rb"[^\s#]+")
_MAGIC = re.compile(rb"P[1-6](\s+\d|\s*#)|P7\s*\n|P[Ff]4?(\s+\d|\s*#)")
_PLAIN = {b"P1", b"P2", b"P3"}
_BITMAPS = {b"P1", b"P4"}
_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_FLOATS = {b"Pf", b"PF"}
_TYPES = {
    b"BLACKANDWHITE": 1,
    b"GRAYSCALE": 1,
    b"BLACKANDWHITE_ALPHA": 2,
    b"GRAYSCALE_ALPHA": 2,
    b"RGB": 3,
    b"RGB_ALPHA": 4,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Netpbm:
    """How the samples lie in a file.

    Attributes:
      width: The width in pixels.
      height: The height in pixels.
      channels: The samples of a pixel.
      start: Where the samples begin.
      most: The sample that is white.
      bitmap: Whether a sample is a bit, of which 1 is black.
      plain: Whether samples are decimal numbers.
      order: The byte order of floats, `<` or `>`; empty where samples are integers.
      unsupported: Why the samples are not read; else empty.
    """

    width: int
    height: int
    channels: int
    start: int
    most: int = 1
    bitmap: bool = False
    plain: bool = False
    order: str = ""
    unsupported: str = ""


def is_pnm(data: bytes) -> bool:
    """Tells whether a file begins as one of netpbm's formats."""
    return _MAGIC.match(data) is not None


def read_pnm(data: bytes) -> Header:
    """Reads the header of a PBM, PGM, PPM, PAM or PFM.

    Raises:
      DecodeError: it is damaged.
    """
    file = parse_pnm(data)
    colour = Colour.GREY if file.channels < 3 else Colour.RGB
    return Header(
        "ppm",
        file.width,
        file.height,
        Colour.WHITE_IS_ZERO if file.bitmap else colour,
        32 if file.order else file.most.bit_length(),
        Sample.FLOAT if file.order else Sample.UNSIGNED,
        Alpha.STRAIGHT if file.channels in (2, 4) else Alpha.NONE,
        pixel_bytes=14 if file.channels in (2, 4) else 8,
        unsupported=file.unsupported,
    )


def parse_pnm(data: bytes) -> Netpbm:
    """Finds the samples of a file; see `read_pnm`."""
    magic = data[:2]
    if magic == b"P7":
        return _parse_pam(data)
    words = _words(data)
    (width, _), (height, end) = (_number(*next(words)) for _ in range(2))
    if magic in _FLOATS:
        word, end = next(words)
        if data[2:3] == b"4":
            return Netpbm(width, height, 4, end, unsupported="floats with alpha")
        return Netpbm(width, height, _CHANNELS[magic], _after(data, end), order=_order(word))
    most = 1
    if magic not in _BITMAPS:
        most, end = _number(*next(words))
    return Netpbm(
        width,
        height,
        _CHANNELS[magic],
        end if magic in _PLAIN else _after(data, end),
        _checked(most),
        magic in _BITMAPS,
        magic in _PLAIN,
    )


def _parse_pam(data: bytes) -> Netpbm:
    end = data.find(b"ENDHDR", 0, _LONGEST)
    start = data.find(b"\n", end) + 1
    if end < 0 or not start:
        raise _damaged(data)
    fields: dict[bytes, bytes] = {}
    for line in data[2:end].splitlines():
        name, _, value = line.strip().partition(b" ")
        # A type may be on several lines.
        if name and not name.startswith(b"#"):
            fields[name] = b" ".join(filter(None, [fields.get(name), value.strip()]))
    try:
        names = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        width, height, channels, most = (_number(fields[name], 0)[0] for name in names)
    except KeyError as error:
        raise DecodeError(Reason.CORRUPT, f"The PAM does not tell its {error}.") from error
    kind = fields.get(b"TUPLTYPE", b"")
    # Who leaves the type out of one or three channels cannot mean anything else.
    known = _TYPES.get(kind) == channels if kind else channels in (1, 3)
    text = f"{channels} channels of the type {kind.decode('latin-1')[:40]!r}"
    unsupported = "" if known else text
    return Netpbm(width, height, channels, start, _checked(most), unsupported=unsupported)


def _words(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields the words of the header after its magic bytes, and where each ends."""
    head = data[:_LONGEST]
    position = 3 if head[2:3] == b"4" else 2
    while position < len(head):
        if head[position] == ord("#"):
            # A comment ends with its line, and goes on for ever where that does not end.
            ends = [head.find(end, position) for end in (b"\n", b"\r")]
            position = min((end for end in ends if end >= 0), default=len(head))
        elif match := _WORD.match(head, position):
            position = match.end()
            yield match.group(), position
        else:
            position += 1
    raise _damaged(data)


def _after(data: bytes, end: int) -> int:
    """Returns where binary samples begin: after one space, or a comment and the end of its line."""
    if data[end : end + 1] == b"#":
        end = data.find(b"\n", end, _LONGEST)
        if end < 0:
            raise _damaged(data)
    return end + 1


def _number(word: bytes, end: int) -> tuple[int, int]:
    if not re.fullmatch(rb"\d{1,10}", word):
        raise DecodeError(Reason.CORRUPT, f"The header has {word[:20]!r} in the place of a number.")
    return int(word), end


def _checked(most: int) -> int:
    if not 1 <= most <= 65535:
        raise DecodeError(Reason.CORRUPT, f"White is {most}, which must be within 1 and 65535.")
    return most


def _order(word: bytes) -> str:
    try:
        scale = float(word)
    except ValueError:
        scale = 0.0
    if not scale or not math.isfinite(scale):
        raise DecodeError(Reason.CORRUPT, f"The PFM has {word[:20]!r} in the place of its scale.")
    return "<" if scale < 0 else ">"


def _damaged(data: bytes) -> DecodeError:
    if len(data) > _LONGEST:
        return DecodeError(Reason.CORRUPT, f"The header has no end within {_LONGEST} bytes.")
    return DecodeError(Reason.TRUNCATED, "The image ends within its header.")
