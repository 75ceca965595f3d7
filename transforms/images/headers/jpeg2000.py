"""JPEG 2000: codestreams as they are, or in JP2 and JPX files (ITU-T T.800, annex I)."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.boxes import Box, boxes
from image_features.transforms.images.headers.codestream import (
    CODESTREAM,
    Codestream,
    read_codestream,
)
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.values import Reason

JP2 = b"\x00\x00\x00\x0cjP  "
_ENUMERATED = {12: Colour.CMYK, 15: Colour.GREY, 16: Colour.RGB, 17: Colour.GREY, 18: Colour.YCBCR}
_OF_ICC = {b"GRAY": Colour.GREY, b"RGB ": Colour.RGB, b"CMYK": Colour.CMYK}
_CHANNELS = {Colour.GREY: 1, Colour.RGB: 3, Colour.YCBCR: 3, Colour.CMYK: 4}
# What a channel is, by its definition.
_OF_COLOUR, _OPACITY, _PREMULTIPLIED = 0, 1, 2
# OpenJPEG keeps some 6 KB for each tile, and 1 KB more for each of its components.
_TILE_BYTES = 10_000
_OTHER_FILES = {b"mjp2": "Motion JPEG 2000, a video", b"jpm ": "JPM, a compound document"}


@dataclasses.dataclass(frozen=True)
class Channel:
    """Where the samples of a channel come from.

    Attributes:
      component: The number of the component in the codestream.
      bits: The bits of a value.
      palette: The values that the component's samples choose from; None if they are the values.
    """

    component: int
    bits: int
    palette: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Jpeg2000:
    """What a file says of its samples.

    Attributes:
      codestream: The size of what is coded.
      colour: What the channels of colours mean.
      channels: These channels in their order, and that of opacity at the end, if any.
      alpha: How opacity is told.
      profile: The ICC profile; empty if there is none.
      unsupported: Why the pixels cannot be had, if so.
    """

    codestream: Codestream
    colour: Colour
    channels: tuple[Channel, ...]
    alpha: Alpha
    profile: bytes
    unsupported: str


def read_jpeg2000(data: bytes) -> Header:
    """Reads what a JPEG 2000 file says of its pixels."""
    image = parse_jpeg2000(data)
    stream = image.codestream
    first, count = stream.components[0], len(stream.components)
    # OpenJPEG has four bytes for each sample, and then there is a copy at the file's depth.
    pixel_bytes = 1 + count * (4 + (first.bits + 7) // 8)
    return Header(
        "jpeg2000",
        stream.width,
        stream.height,
        Colour.PALETTE if any(channel.palette for channel in image.channels) else image.colour,
        first.bits,
        Sample.SIGNED if first.signed else Sample.UNSIGNED,
        image.alpha,
        passes=count,
        steps=stream.tiles,
        pixel_bytes=pixel_bytes + stream.tiles * _TILE_BYTES // (stream.width * stream.height),
        unsupported=image.unsupported,
    )


def parse_jpeg2000(data: bytes) -> Jpeg2000:
    """Reads the boxes of a file, if there are any, and the size of its codestream.

    Raises:
      DecodeError: they are damaged, or contradict each other.
      struct.error: the file ends before them.
    """
    if data.startswith(CODESTREAM):
        stream = read_codestream(data, 0, len(data))
        channels = tuple(Channel(i, c.bits) for i, c in enumerate(stream.components))
        return _image(stream, channels, None, _by_number(stream, len(channels)), b"")
    if data[20:24] in _OTHER_FILES:
        what = _OTHER_FILES[data[20:24]]
        raise DecodeError(Reason.UNSUPPORTED_FORMAT, f"The file is {what}, which is not read.")
    header = None
    for box in boxes(data):
        if box.kind == b"jp2h":
            header = header or box
        elif box.kind == b"jp2c":
            break
    else:
        raise DecodeError(Reason.TRUNCATED, "The JP2 file ends before its codestream.")
    if header is None:
        raise DecodeError(Reason.CORRUPT, "The JP2 file has a codestream before its header.")
    stream = read_codestream(data, box.start, box.end)
    _check_size(header, stream)
    channels = tuple(_channels(header, stream))
    colour, profile = _colour(header) or (_by_number(stream, len(channels)), b"")
    return _image(stream, channels, header.child(b"cdef"), colour, profile)


def _check_size(header: Box, stream: Codestream) -> None:
    """Compares the image header with the codestream, of which one would be wrong."""
    box = header.child(b"ihdr")
    if box is None:
        raise DecodeError(Reason.CORRUPT, "The JP2 file has no image header.")
    height, width, count = box.read("IIH")
    if (width, height, count) != (stream.width, stream.height, len(stream.components)):
        raise DecodeError(
            Reason.CORRUPT,
            f"The JP2 file says that it has {width} x {height} pixels of {count} components, but "
            f"its codestream has {stream.width} x {stream.height} of {len(stream.components)}.",
        )


def _channels(header: Box, stream: Codestream) -> Iterator[Channel]:
    """Reads which channels there are: the components, or what a palette makes of them."""
    palette, mapping = header.child(b"pclr"), header.child(b"cmap")
    if palette is None:
        yield from (Channel(i, component.bits) for i, component in enumerate(stream.components))
        return
    if mapping is None:
        raise DecodeError(Reason.CORRUPT, "The JP2 file has a palette that is for no component.")
    columns = list(_columns(palette))
    for component, kind, column in struct.iter_unpack(">HBB", mapping.content):
        if component >= len(stream.components) or (kind and column >= len(columns)):
            raise DecodeError(Reason.CORRUPT, "The JP2 file's palette is for what is not there.")
        if kind:
            bits, values = columns[column]
            yield Channel(component, bits, values)
        else:
            yield Channel(component, stream.components[component].bits)


def _columns(palette: Box) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Reads the bits and the values of each column of a palette."""
    entries, count = palette.read("HB")
    depths = [depth + 1 for depth in palette.read(f"{count}B", 3)]
    if not 1 <= entries <= 1024 or max(depths, default=0) > 16:  # Signed ones are above 128.
        raise DecodeError(Reason.UNSUPPORTED_PIXELS, "The JP2 file's palette is of no known kind.")
    layout = "".join("B" if bits <= 8 else "H" for bits in depths)
    values = palette.read(layout * entries, 3 + count)
    for i, bits in enumerate(depths):
        yield bits, values[i::count]


def _colour(header: Box) -> tuple[Colour, bytes] | None:
    """Reads the first colour specification of a known method; None if there is none at all."""
    specifications = [box for box in header.children() if box.kind == b"colr"]
    for box in specifications:
        (method,) = box.read("B")
        if method == 1:
            (space,) = box.read("I", 3)
            return _ENUMERATED.get(space, Colour.OTHER), b""
        if method in (2, 3):  # An ICC profile, restricted or of any kind.
            profile = box.content[3:]
            return _OF_ICC.get(profile[16:20], Colour.OTHER), profile
    return (Colour.OTHER, b"") if specifications else None


def _by_number(stream: Codestream, count: int) -> Colour:
    """Returns what as many channels mean to every viewer where the file does not say it."""
    if count == 3 and stream.is_subsampled:
        return Colour.YCBCR
    return {1: Colour.GREY, 2: Colour.GREY, 3: Colour.RGB, 4: Colour.RGB}.get(count, Colour.OTHER)


def _image(
    stream: Codestream,
    channels: tuple[Channel, ...],
    definitions: Box | None,
    colour: Colour,
    profile: bytes,
) -> Jpeg2000:
    """Puts the channels into the order of the colours, with opacity at the end."""
    wanted = _CHANNELS.get(colour, 0)
    alpha, unsupported = Alpha.NONE, stream.unsupported
    if definitions is not None:
        order, alpha, unclear = _defined(definitions, len(channels))
        unsupported = unsupported or unclear
    else:
        order = list(range(len(channels)))
        if len(channels) == wanted + 1:  # Every viewer takes the last one for opacity.
            alpha = Alpha.STRAIGHT
    if not wanted:
        unsupported = "colours that are not grey, RGB, sYCC or CMYK"
    elif len(order) != wanted + (alpha is not Alpha.NONE):
        unsupported = unsupported or f"{len(channels)} channels for {colour}"
    elif stream.is_subsampled and (colour, len(order)) != (Colour.YCBCR, 3):
        unsupported = unsupported or "components of different sizes"
    return Jpeg2000(stream, colour, tuple(channels[i] for i in order), alpha, profile, unsupported)


def _defined(definitions: Box, count: int) -> tuple[list[int], Alpha, str]:
    """Returns the channels in their order, how opacity is told, and what is unclear, if so."""
    colours: dict[int, int] = {}
    opacity: list[tuple[int, int, int]] = []
    for channel, kind, about in struct.iter_unpack(">3H", definitions.content[2:]):
        if channel >= count:
            raise DecodeError(Reason.CORRUPT, "The JP2 file defines a channel that is not there.")
        if kind == _OF_COLOUR:
            colours[about] = channel
        elif kind in (_OPACITY, _PREMULTIPLIED):
            opacity.append((channel, kind, about))
    order = [channel for _, channel in sorted(colours.items())]
    if sorted(colours) != list(range(1, len(colours) + 1)):
        return order, Alpha.NONE, "channels of colours that are not known"
    if not opacity:
        return order, Alpha.NONE, ""
    channel, kind, about = opacity[0]
    if len(opacity) > 1 or about:
        return order, Alpha.NONE, "opacity for single colours"
    alpha = Alpha.PREMULTIPLIED if kind == _PREMULTIPLIED else Alpha.STRAIGHT
    return [*order, channel], alpha, ""
