"""PNG, by Pillow and from nothing but the chunks that carry pixels.

What else is in a file can then neither cost anything nor stop the picture: texts and profiles of
any size, and chunks that are damaged.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.pillow import load
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.images.headers.png import (
    RAW_EXIF,
    SIGNATURE,
    Chunks,
    find_chunks,
    size_of_rows,
)
from image_features.transforms.images.orientation import exif_orientation, text_orientation
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

# Profiles with the finest tables have some megabytes; EXIF in a text is a segment of a JPEG.
_MOST_PROFILE = 2**22
_MOST_TEXT = 2**18
_BAND = 2**18
_PIECE = 2**16
_GREYS: dict[str, int | tuple[int, ...]] = {
    "1": 0,
    "L": 128,
    "P": 128,
    "LA": (128, 255),
    "RGB": (128, 128, 128),
    "RGBA": (128, 128, 128, 255),
}
# The colour types of files with alpha.
_GREY_ALPHA, _RGBA = 4, 6
_BEHIND_HEADER = len(SIGNATURE) + 25


def decode_png(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the still picture of a PNG, also of one that is animated."""
    chunks = find_chunks(data)
    _check(chunks, header)
    image = _deep(chunks, header) if header.bits == 16 else _shallow(chunks, header)
    return Raster(image, _profile(chunks), _orientation(chunks))


def _check(chunks: Chunks, header: Header) -> None:
    # A tRNS that the header does not count is out of its place, and says nothing.
    has_key = header.alpha is Alpha.KEY or (
        header.alpha is Alpha.STRAIGHT and header.colour is Colour.PALETTE
    )
    for kind in (b"PLTE", b"tRNS") if has_key else (b"PLTE",):
        if kind in chunks.spans and not chunks.is_whole(chunks.spans[kind]):
            raise DecodeError(Reason.CORRUPT, f"The chunk {kind.decode()} of the PNG is damaged.")
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    for span in chunks.pixels:
        # A chunk that the file's end has cut needs no CRC; the decoder misses its rows.
        if span[1] + 4 <= len(chunks.data) and not chunks.is_whole(span):
            raise DecodeError(Reason.CORRUPT, "Pixels (IDAT) of the PNG have a wrong CRC.")


def _shallow(chunks: Chunks, header: Header) -> Image.Image:
    """Decodes samples of at most 8 bits."""
    extra = b""
    if header.colour is Colour.PALETTE:
        extra = _palette(chunks, header)
    image = _opened(chunks, _plain(chunks, extra=extra))
    if header.alpha is Alpha.KEY:
        if image.mode == "1":
            image = image.convert("L")
        # Pillow compares what it has decoded with what the file says, whatever the bits.
        white = 2**header.bits - 1
        key = [(value & white) * 255 // white for value in _key(chunks, header)]
        image.info["transparency"] = tuple(key) if len(key) > 1 else key[0]
        return image.convert("RGBA" if image.mode == "RGB" else "LA")
    return image.convert("RGBA") if "transparency" in image.info else image


def _palette(chunks: Chunks, header: Header) -> bytes:
    """Returns a palette and its alphas as chunks; what the file's palette lacks is black."""
    colours = chunks.body(b"PLTE")
    if not colours or len(colours) % 3 or len(colours) > 768:
        raise DecodeError(Reason.CORRUPT, "The PNG has no palette (PLTE) that is sound.")
    most = 2**header.bits
    chunk = _chunk(b"PLTE", colours[: 3 * most].ljust(3 * most, b"\0"))
    if header.alpha is Alpha.STRAIGHT and (alphas := chunks.body(b"tRNS")):
        chunk += _chunk(b"tRNS", alphas[:most])
    return chunk


def _deep(chunks: Chunks, header: Header) -> Image.Image:
    """Decodes samples of 16 bits, of which Pillow would keep the upper ones."""
    channels = 1 if header.colour is Colour.GREY else 3
    has_alpha = header.alpha is not Alpha.NONE
    mode = {1: "L", 3: "RGB"}[channels] + "A" * has_alpha
    image = Image.new("RGBA" if mode == "RGBA" else mode, (header.width, header.height))
    key = None
    if header.alpha is Alpha.KEY:
        key = np.array(_key(chunks, header), np.uint16)
    top = 0
    for band in _bands(chunks, header):
        values = to_eight_bits(band, bits=16)
        if key is not None:
            shown = np.any(band != key, axis=2, keepdims=True)
            values = np.concatenate((values, np.where(shown, 255, 0).astype(np.uint8)), axis=2)
        rows = Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values)
        image.paste(rows, (0, top))
        top += len(band)
    return image


def _bands(chunks: Chunks, header: Header) -> Iterator[npt.NDArray[np.uint16]]:
    """Yields samples [rows, width, channels] of 16 bits, a few rows at a time."""
    alpha = header.alpha is Alpha.STRAIGHT
    if header.colour is Colour.GREY:
        # The bytes of a sample are two of 8 bits, and filters work on bytes.
        whole = _opened(chunks, _plain(chunks, kind=_RGBA if alpha else _GREY_ALPHA))
        images = [whole]
    else:
        mode = "RGBA" if alpha else "RGB"
        images = [_opened(chunks, _plain(chunks), f"{mode};16{half}") for half in "BL"]
    width, height = header.width, header.height
    step = max(1, _BAND // width)
    for top in range(0, height, step):
        box = (0, top, width, min(height, top + step))
        halves = [np.asarray(image.crop(box)).astype(np.uint16) for image in images]
        if len(halves) == 1:
            halves = [halves[0][..., 0::2], halves[0][..., 1::2]]
        yield (halves[0] << 8 | halves[1]).astype(np.uint16, copy=False)


def _plain(chunks: Chunks, *, kind: int | None = None, extra: bytes = b"") -> bytes:
    """Returns a file of the header, of chunks for a palette, and of the pixels.

    Args:
      chunks: The chunks of the file.
      kind: The colour type to say, with 8 bits a sample; the file's own if it is None.
      extra: Chunks between header and pixels.
    """
    data, (start, end) = chunks.data, (chunks.pixels[0][0] - 8, chunks.pixels[-1][1] + 4)
    if kind is None and not extra and start == _BEHIND_HEADER and data[end:] == _END:
        return data  # There is nothing else in it.
    header = chunks.body(b"IHDR")
    if kind is not None:
        header = header[:8] + bytes((8, kind)) + header[10:]
    # After a chunk that is cut short, the end would be taken for pixels.
    last = _END if end <= len(data) else b""
    return b"".join((SIGNATURE, _chunk(b"IHDR", header), extra, memoryview(data)[start:end], last))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


_END = _chunk(b"IEND", b"")


def _opened(chunks: Chunks, file: bytes, raw_mode: str = "") -> Image.Image:
    with PngImageFile(io.BytesIO(file)) as image:
        if raw_mode:
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        # Grey is what stays of rows that the file lacks.
        image.im = Image.new(image.mode, image.size, _GREYS[image.mode]).im
        # The decoder gets the whole file in one call, as each waits for the interpreter's lock.
        image.decodermaxblock = max(image.decodermaxblock, len(file))
        load(image)
        _check_rows(chunks, image)
        return image


def _check_rows(chunks: Chunks, image: Image.Image) -> None:
    """Raises an error if rows are missing, of which Pillow says nothing if they are whole ones."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    interlaced = chunks.body(b"IHDR")[12]
    last = image.height - 1 - (image.height % 2 if interlaced and image.height > 1 else 0)
    if image.getpixel((image.width - 1, last)) != _GREYS[image.mode]:
        return
    row = image.crop((0, last, image.width, last + 1))
    untouched = Image.new(row.mode, row.size, _GREYS[row.mode])
    if row.tobytes() == untouched.tobytes() and not _has_all_rows(chunks):
        raise DecodeError(Reason.TRUNCATED, "The PNG's pixels (IDAT) end before the last row.")


def _key(chunks: Chunks, header: Header) -> tuple[int, ...]:
    count = 1 if header.colour is Colour.GREY else 3
    key = chunks.body(b"tRNS")
    if len(key) < 2 * count:
        raise DecodeError(Reason.CORRUPT, "The chunk tRNS of the PNG is damaged.")
    return struct.unpack_from(f">{count}H", key)


def _has_all_rows(chunks: Chunks) -> bool:
    """Tells whether the pixels inflate to as many bytes as they should."""
    view, inflater = memoryview(chunks.data), zlib.decompressobj()
    missing = size_of_rows(chunks.body(b"IHDR"))
    for start, end in chunks.pixels:
        for position in range(start, end, _PIECE):
            piece = bytes(view[position : min(position + _PIECE, end)])
            while piece and missing > 0:
                missing -= len(inflater.decompress(piece, 16 * _PIECE))
                piece = inflater.unconsumed_tail
    return missing <= 0


def _profile(chunks: Chunks) -> bytes:
    if chunks.spans.get(b"iCCP", chunks.pixels[0]) >= chunks.pixels[0]:
        return b""
    _, _, rest = chunks.body(b"iCCP").partition(b"\0")
    return _inflated(rest[1:], _MOST_PROFILE)


def _orientation(chunks: Chunks) -> int:
    if exif := chunks.body(b"eXIf"):
        return exif_orientation(exif)
    for kind, zipped in ((b"tEXt", False), (b"zTXt", True), (b"iTXt", False)):
        text = chunks.body(kind)[len(RAW_EXIF) :]
        if not text:
            continue
        if kind == b"iTXt":  # Two bytes about compression, a language, and a translation.
            zipped = text[:1] == b"\1"
            text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
        elif zipped:
            text = text[1:]
        text = _inflated(text, _MOST_TEXT) if zipped else text[:_MOST_TEXT]
        return text_orientation(text.decode("latin-1"))
    return 1


def _inflated(data: bytes, most: int) -> bytes:
    """Inflates what is not larger than `most`, is whole, and has its checksum; else nothing."""
    if len(data) > most:  # Millions of blocks of nothing take seconds too.
        return b""
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, most)
    except zlib.error:
        return b""
    return result if inflater.eof else b""
