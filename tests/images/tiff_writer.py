"""A writer of TIFF, strict or odd as its caller likes, that shares no code with any reader."""

from __future__ import annotations

import dataclasses
import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

# Photometric interpretations, and kinds of extra samples.
WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR, CIE_LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
PREMULTIPLIED, ALPHA, ANYTHING = 1, 2, 0
_LETTERS = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 16: "Q"}
_CODECS = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32773: imagecodecs.packbits_encode,
    32946: zlib.compress,
    34925: lzma.compress,
    50000: imagecodecs.zstd_encode,
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How `tiff_of` stores samples.

    Attributes:
      order: `<` or `>`.
      big: Whether a BigTIFF is written.
      compression: The number of the compression.
      predictor: The number of the predictor.
      planar: Whether each sample has strips or tiles of its own.
      tile: The (height, width) of tiles; None for strips.
      rows: The rows of a strip.
      reverse: Whether the bits of each byte are reversed, as FillOrder 2 says.
      words: Whether samples of 9 to 15 bits are stored in 16 each.
    """

    order: str = "<"
    big: bool = False
    compression: int = 1
    predictor: int = 1
    planar: bool = False
    tile: tuple[int, int] | None = None
    rows: int = 5
    reverse: bool = False
    words: bool = False


def scaled(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Returns values of eight bits as unsigned numbers of other bits."""
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(values / 255 * (2**bits - 1)).astype(dtype)


def seen(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Returns unsigned numbers of other bits as values of eight bits."""
    return np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)


def tiff_of(
    values: npt.NDArray[Any],
    bits: int,
    photometric: int,
    layout: Layout = Layout(),
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """Writes samples [height, width, samples]; `tags` are added, or replace those of samples."""
    if values.ndim == 2:
        values = values[..., None]
    height, width, samples = values.shape
    format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    planes = [values[..., i : i + 1] for i in range(samples)] if layout.planar else [values]
    pieces = [piece for plane in planes for piece in _pieces(plane, layout)]
    blobs = [_stored(piece, bits, layout) for piece in pieces]
    first, counts = (324, 325) if layout.tile else (273, 279)
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [layout.compression]),
        262: (3, [photometric]),
        277: (3, [samples]),
        284: (3, [2 if layout.planar else 1]),
        339: (3, [format] * samples),
        first: (16 if layout.big else 4, [0] * len(blobs)),
        counts: (4, [len(blob) for blob in blobs]),
    }
    if layout.tile:
        entries |= {322: (4, [layout.tile[1]]), 323: (4, [layout.tile[0]])}
    else:
        entries[278] = (4, [layout.rows])
    if layout.reverse:
        entries[266] = (3, [2])
    if layout.predictor != 1:
        entries[317] = (3, [layout.predictor])
    entries |= tags or {}
    return file_of(entries, blobs, first, layout.order, layout.big)


def file_of(
    entries: Mapping[int, tuple[int, Sequence[int]]],
    blobs: Sequence[bytes],
    first: int = 273,
    order: str = "<",
    big: bool = False,
) -> bytes:
    """Writes a file of one directory, whose tag `first` gets the places of the blobs."""
    start = 16 if big else 8
    places, position = [], start
    for blob in blobs:
        places.append(position)
        position += len(blob)
    position += position % 2
    kept = dict(entries)
    if first in kept:
        kept[first] = (kept[first][0], places)
    count, head, room, link = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    directory, outside = struct.pack(order + count, len(kept)), b""
    after = position + len(directory) + len(kept) * (struct.calcsize("=" + head) + room) + room
    for tag, (type, numbers) in sorted(kept.items()):
        content = struct.pack(f"{order}{len(numbers)}{_LETTERS[type]}", *numbers)
        directory += struct.pack(order + head, tag, type, len(numbers))
        if len(content) <= room:
            directory += content.ljust(room, b"\0")
        else:
            directory += struct.pack(order + link, after + len(outside))
            outside += content + b"\0" * (len(content) % 2)
    magic = b"II" if order == "<" else b"MM"
    version = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    whole = magic + version + struct.pack(order + link, position) + b"".join(blobs)
    return whole.ljust(position, b"\0") + directory + struct.pack(order + link, 0) + outside


def packed(rows: npt.NDArray[Any], bits: int) -> bytes:
    """Packs rows of numbers into as many bits each, the first at the top of a byte."""
    digits = (rows[..., None].astype(np.uint64) >> np.arange(bits - 1, -1, -1, np.uint64)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


def _pieces(plane: npt.NDArray[Any], layout: Layout) -> list[npt.NDArray[Any]]:
    height, width, samples = plane.shape
    if not layout.tile:
        return [plane[top : top + layout.rows] for top in range(0, height, layout.rows)]
    down, across = layout.tile
    pieces = []
    for top in range(0, height, down):
        for left in range(0, width, across):
            # What is beyond the picture must not be seen.
            piece = np.full((down, across, samples), 77, plane.dtype)
            cut = plane[top : top + down, left : left + across]
            piece[: cut.shape[0], : cut.shape[1]] = cut
            pieces.append(piece)
    return pieces


def _stored(piece: npt.NDArray[Any], bits: int, layout: Layout) -> bytes:
    if layout.predictor == 2:
        whole = np.ascontiguousarray(piece).view(f"u{piece.dtype.itemsize}")
        piece = whole.copy()
        piece[:, 1:] -= whole[:, :-1]
    if layout.predictor == 3:
        content = _floats_predicted(piece)
    elif layout.words:
        content = piece.astype(layout.order + "u2").tobytes()
    elif bits in (8, 16, 32, 64):
        content = piece.astype(piece.dtype.newbyteorder(layout.order)).tobytes()
    else:
        content = packed(piece.reshape(len(piece), -1), bits)
    content = bytes(_CODECS[layout.compression](content))
    return bytes(int(f"{b:08b}"[::-1], 2) for b in content) if layout.reverse else content


def _floats_predicted(piece: npt.NDArray[Any]) -> bytes:
    """Adobe's technical note 3: the bytes of a row by their weight, then differences of bytes."""
    rows = []
    for row in piece:
        size = row.dtype.itemsize
        weights = row.astype(row.dtype.newbyteorder(">")).tobytes()
        planes = np.frombuffer(weights, np.uint8).reshape(-1, size).T.reshape(-1)
        samples = piece.shape[2]
        differences = planes.copy()
        differences[samples:] -= planes[:-samples]
        rows.append(differences.tobytes())
    return b"".join(rows)
