"""BMP: what the headers of a device-independent bitmap say, in a file of its own or in an icon."""

from __future__ import annotations

import dataclasses
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.values import Reason

_FILE_HEADER = 14
_CORE, _INFO, _V5 = 12, 40, 124
_WINDOWS = frozenset({_INFO, 52, 56, 108, _V5})
_RGB, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHABITFIELDS = range(7)
_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0)} | dict.fromkeys((24, 32), (0xFF0000, 0xFF00, 0xFF, 0))
_RUNS = {(_RLE8, 8), (_RLE4, 4)}
_EMBEDDED = int.from_bytes(b"MBED")


@dataclasses.dataclass(frozen=True, slots=True)
class Bitmap:
    """Where the parts of a bitmap lie in a file, and how to read them.

    Attributes:
      width: The width in pixels.
      height: The height in pixels.
      top_down: Whether the first row of the file is the picture's upper one.
      bits: The bits of a pixel.
      runs: Whether the pixels are run lengths.
      masks: The bits of red, green, blue and alpha in a pixel; empty where there is a palette.
      palette: Where the palette begins.
      entries: The number of its colours.
      entry: The bytes of a colour: blue, green, red, and perhaps one that means nothing.
      pixels: Where the pixels begin.
      profile: The ICC profile that is embedded.
      unsupported: Why the pixels are not read; else empty.
    """

    width: int
    height: int
    top_down: bool
    bits: int
    runs: bool = False
    masks: tuple[int, ...] = ()
    palette: int = 0
    entries: int = 0
    entry: int = 4
    pixels: int = 0
    profile: bytes = b""
    unsupported: str = ""

    @property
    def row(self) -> int:
        """The bytes of a row that is not compressed: rows begin at multiples of four."""
        return (self.width * self.bits + 31) // 32 * 4


def read_bmp(data: bytes) -> Header:
    """Reads the header of a bitmap.

    Raises:
      DecodeError: it is damaged.
      struct.error: it ends early.
    """
    return bitmap_header(parse_bmp(data), len(data))


def is_bmp(data: bytes) -> bool:
    """Tells whether a file is a bitmap, with the header of a file or, as on a clipboard, without.

    Texts begin with BM too; only a bitmap has the small length of a header after it.
    """
    if data.startswith(b"BM"):
        return int.from_bytes(data[14:18], "little") <= 2 * _V5
    size, _, _, planes, bits = struct.unpack_from("<IiiHH", data[:16].ljust(16, b"\0"))
    return size in _WINDOWS and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


def bitmap_header(bitmap: Bitmap, size: int, *, format: str = "bmp") -> Header:
    """Returns what a bitmap in a file of so many bytes says of its pixels."""
    alpha = Alpha.STRAIGHT if bitmap.masks and bitmap.masks[3] else Alpha.NONE
    return Header(
        format,
        bitmap.width,
        bitmap.height,
        Colour.RGB if bitmap.masks else Colour.PALETTE,
        max(mask.bit_count() for mask in bitmap.masks) if bitmap.masks else bitmap.bits,
        alpha=alpha,
        coding="run lengths" if bitmap.runs else "",
        steps=size // 2 if bitmap.runs else 0,
        pixel_bytes=8 if alpha is Alpha.NONE else 14,
        unsupported=bitmap.unsupported,
    )


def parse_bmp(data: bytes) -> Bitmap:
    """Finds the parts of a bitmap's file; see `read_bmp`."""
    if not data.startswith(b"BM"):
        return parse_bitmap(data, 0)
    return parse_bitmap(data, _FILE_HEADER, struct.unpack_from("<I", data, 10)[0])


def parse_bitmap(data: bytes, start: int, pixels: int = 0) -> Bitmap:
    """Finds the parts of a bitmap; see `read_bmp`.

    Args:
      data: The file.
      start: Where the bitmap's own header begins.
      pixels: Where the pixels begin; 0 if they follow the palette.
    """
    (size,) = struct.unpack_from("<I", data, start)
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<4H", data, start + 4)
        compression = colours = 0
    elif size in _WINDOWS or 16 <= size <= 64:
        if len(data) < start + size:
            raise DecodeError(Reason.TRUNCATED, "The bitmap ends within its header.")
        # OS/2 leaves out the last fields that are 0.
        fields = data[start + 4 : start + min(size, _INFO)].ljust(_INFO - 4, b"\0")
        width, height, _, bits, compression, *_, colours, _ = struct.unpack("<iiHHIIiiII", fields)
    else:
        raise DecodeError(Reason.CORRUPT, f"No version of bitmaps has a header of {size} bytes.")
    end = start + size
    windows = size in _WINDOWS
    unsupported = _unsupported(bits, compression, windows)
    masks: tuple[int, ...] = ()
    if bits > 8 and not unsupported:
        masks, end = _masks(data, start, bits, compression)
    entry = 3 if size == _CORE else 4
    entries = 0
    if bits <= 8:
        entries = colours or 1 << bits
        if pixels <= end:  # Some writers forget the palette there.
            pixels = end + entries * entry
        entries = min(entries, 1 << bits, (pixels - end) // entry)
    return Bitmap(
        width,
        abs(height),
        height < 0,
        bits,
        (compression, bits) in _RUNS,
        masks,
        end,
        entries,
        entry,
        max(pixels, end),
        _profile(data, start) if size == _V5 else b"",
        unsupported,
    )


def _unsupported(bits: int, compression: int, windows: bool) -> str:
    if windows and compression in (_JPEG, _PNG):
        return f"pixels that are a {'JPEG' if compression == _JPEG else 'PNG'} file"
    if bits not in (1, 2, 4, 8, 16, 24, 32, 64):
        raise DecodeError(Reason.CORRUPT, f"No bitmap has pixels of {bits} bits.")
    if compression == _RGB:
        return "pixels of 64 bits" if bits == 64 else ""
    if (compression, bits) in _RUNS:
        return ""
    if windows and compression in (_BITFIELDS, _ALPHABITFIELDS) and bits in _MASKS:
        return ""
    # OS/2 has used the numbers 3 and 4 for Huffman's codes and for run lengths of 24 bits.
    return f"{bits}-bit pixels of compression {compression}"


def _masks(data: bytes, start: int, bits: int, compression: int) -> tuple[tuple[int, ...], int]:
    """Returns the bits of red, green, blue and alpha in a pixel, and where the header ends."""
    (size,) = struct.unpack_from("<I", data, start)
    end = start + size
    if compression == _RGB:
        return _MASKS[bits], end
    count = 4 if size >= 56 or (size == _INFO and compression == _ALPHABITFIELDS) else 3
    if size == _INFO:
        end += 4 * count
    words = struct.unpack_from(f"<{count}I", data, start + _INFO)
    masks = tuple(word & ((1 << bits) - 1) for word in words) + (0,) * (4 - count)
    for mask in masks:
        low = mask & -mask
        if mask & (mask + low):
            raise DecodeError(Reason.CORRUPT, f"The bits of the mask {mask:#x} are not together.")
    if not any(masks[:3]):
        raise DecodeError(Reason.CORRUPT, "The bitmap's masks leave no bit of any colour.")
    return masks, end


def _profile(data: bytes, start: int) -> bytes:
    """Returns the embedded profile; one that is linked would be another file."""
    (kind,) = struct.unpack_from("<I", data, start + 56)
    offset, size = struct.unpack_from("<II", data, start + 112)
    return data[start + offset : start + offset + size] if kind == _EMBEDDED else b""
