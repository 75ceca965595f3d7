"""JPEG files of flat blocks and without loss, by whichever process and with whichever segments."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Planes = Sequence[npt.NDArray[np.int64]]


def segment(marker: int, body: bytes) -> bytes:
    """Returns a marker segment."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


ADOBE = b"Adobe\0\x64\0\0\0\0"
JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
QUANTISED_BY_8 = segment(0xDB, b"\0" + bytes([8] * 64))


def huffman(categories: int) -> bytes:
    """Returns tables in which DC's codes are the categories in five bits; AC has one of one bit."""
    dc = bytes([0, 0, 0, 0, categories] + [0] * 11) + bytes(range(categories))
    ac = bytes([1] + [0] * 15) + b"\0"  # The end of a block.
    return segment(0xC4, b"\0" + dc + b"\x10" + ac)


def frame(
    process: int,
    bits: int,
    size: tuple[int, int],
    ids: Sequence[int],
    factors: Sequence[tuple[int, int]],
) -> bytes:
    """Returns a frame header for a (width, height)."""
    body = struct.pack(">BHHB", bits, size[1], size[0], len(ids))
    for name, (across, down) in zip(ids, factors, strict=True):
        body += bytes([name, across << 4 | down, 0])
    return segment(process, body)


def flat_blocks(
    planes: Planes,
    *,
    process: int = 0xC0,
    bits: int = 8,
    ids: Sequence[int] = (1, 2, 3, 4, 5),
    factors: Sequence[tuple[int, int]] | None = None,
    scans: Sequence[Sequence[int]] | None = None,
    restart: int = 0,
    height: int | None = None,
    before: bytes = b"",
    between: bytes = b"",
    after: bytes = b"\xff\xd9",
) -> bytes:
    """Writes blocks of 8 x 8 pixels, each of one value.

    Args:
      planes: For each channel a value for each of its blocks [rows, columns].
      process: The marker of the frame header.
      bits: The bits of a sample.
      ids: The names of the channels.
      factors: The sampling (across, down) of each channel; one by default.
      scans: The channels of each scan; all in one by default.
      restart: The number of units between two restart markers; 0 for none.
      height: The height that the frame header tells, if not the true one.
      before: Segments before the frame header.
      between: Segments between the first scan and the next.
      after: What ends the file.
    """
    factors = factors or [(1, 1)] * len(planes)
    down = max(factor[1] for factor in factors)
    across = max(factor[0] for factor in factors)
    units = planes[0].shape[0] // factors[0][1], planes[0].shape[1] // factors[0][0]
    size = units[1] * across * 8, units[0] * down * 8 if height is None else height
    out = [b"\xff\xd8", before, QUANTISED_BY_8, huffman(16)]
    out.append(frame(process, bits, size, ids[: len(planes)], factors))
    out.append(segment(0xDD, struct.pack(">H", restart)) if restart else b"")
    last = 0 if process in (0xC2, 0xCA) else 63
    for number, channels in enumerate(scans or [range(len(planes))]):
        out.append(between if number == 1 else b"")
        names = b"".join(bytes([ids[channel], 0]) for channel in channels)
        out.append(segment(0xDA, bytes([len(channels)]) + names + bytes([0, last, 0])))
        blocks = [
            (planes[channel], (1, 1) if len(channels) == 1 else factors[channel])
            for channel in channels
        ]
        out.append(_coded(_differences(blocks, 1 << (bits - 1)), len(blocks), last > 0, restart))
    for channel in range(len(planes)) if not last else ():
        # Without AC's scans decoders would smooth the blocks.
        out.append(segment(0xDA, bytes([1, ids[channel], 0, 1, 63, 0])))
        out.append(_stuffed("0" * planes[channel].size))
    return b"".join([*out, after])


def lossless(
    planes: Planes, bits: int, before: bytes = b"", ids: Sequence[int] = (1, 2, 3)
) -> bytes:
    """Writes samples [height, width] of any depth without loss (SOF3, by the sample before)."""
    height, width = planes[0].shape
    text = ""
    for y in range(height):
        for x in range(width):
            for plane in planes:
                start = int(plane[y - 1, 0]) if y else 1 << (bits - 1)
                guess = int(plane[y, x - 1]) if x else start
                difference = (int(plane[y, x]) - guess + 0x8000) % 0x10000 - 0x8000
                text += _number(difference)
    names = b"".join(bytes([name, 0]) for name in ids[: len(planes)])
    return b"".join(
        [
            b"\xff\xd8",
            before,
            huffman(17),
            frame(0xC3, bits, (width, height), ids[: len(planes)], [(1, 1)] * len(planes)),
            segment(0xDA, bytes([len(planes)]) + names + bytes([1, 0, 0])),
            _stuffed(text),
            b"\xff\xd9",
        ]
    )


def _differences(
    blocks: Sequence[tuple[npt.NDArray[np.int64], tuple[int, int]]], middle: int
) -> Iterator[list[tuple[int, int]]]:
    """Yields for each unit the channel and the value of each block, grey being 0."""
    plane, (across, down) = blocks[0]
    for row in range(plane.shape[0] // down):
        for column in range(plane.shape[1] // across):
            yield [
                (channel, int(values[row * v + y, column * h + x]) - middle)
                for channel, (values, (h, v)) in enumerate(blocks)
                for y in range(v)
                for x in range(h)
            ]


def _coded(
    units: Iterator[list[tuple[int, int]]], channels: int, has_ac: bool, restart: int
) -> bytes:
    out, text, before = b"", "", [0] * channels
    for number, unit in enumerate(units):
        if restart and number and number % restart == 0:
            out += _stuffed(text) + bytes([0xFF, 0xD0 + (number // restart - 1) % 8])
            text, before = "", [0] * channels
        for channel, value in unit:
            text += _number(value - before[channel]) + "0" * has_ac
            before[channel] = value
    return out + _stuffed(text)


def _number(value: int) -> str:
    """Returns a number's category, and its bits; those of negative ones are of one less."""
    category = abs(value).bit_length()
    if value == -0x8000:
        return format(16, "05b")
    extra = value if value > 0 else value + (1 << category) - 1
    return format(category, "05b") + (format(extra, f"0{category}b") if category else "")


def _stuffed(text: str) -> bytes:
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    return data.replace(b"\xff", b"\xff\0")
