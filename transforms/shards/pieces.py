"""Pieces: the rows of one shard that one bundle made, on their way into the shard's file.

    rows u64 | CRC-32C u32 | index: (key 32 bytes, length u64, length of the note u32) a row
    | the rows' notes | the rows

All numbers are little-endian, and the checksum is of all that follows it. A note is what a row
tells the shard's index. Merging reads the indexes of pieces, sorts the keys, and copies stretches
of rows that lie together already, as nearly all do, since rows come sorted in slices.

A piece is a file of its own or a part of a sheaf.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import struct
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import google_crc32c
import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.sheaf import is_part, read_part
from image_features.transforms.stores.files import create_whole, open_plain
from image_features.transforms.stores.gcs import SCHEME
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged

KEY_BYTES = 32
PART_SUFFIX = ".part"
_HEAD = struct.Struct("<QI")
_ENTRY = np.dtype([("key", f"S{KEY_BYTES}"), ("length", "<u8"), ("note", "<u4")])
_BLOCK = 2**20
# Pieces whose keys overlap are open at the same time; systems allow a process about 1000 files.
_MAX_OPEN = 200
# Where there are more of them, smaller ones are read once and kept together in a temporary file:
# the rows of archives come for all shards in turn, and each row would open a piece again. Those
# in sheaves are as small as makes them worth one.
_SMALL_BYTES = 2**18
_READ_AT_ONCE = 16


class DuplicateRowError(RuntimeError):
    """Two rows with one key have reached a shard: the runner has delivered a row twice."""


class BrokenPieceError(OSError):
    """A file is not a whole piece."""


@dataclasses.dataclass(frozen=True)
class MergedRows:
    """The keys and notes of rows that were merged.

    Attributes:
      keys: bytes32 [rows], sorted.
      notes: The notes of the rows, [rows].
    """

    keys: npt.NDArray[np.bytes_]
    notes: Sequence[bytes]


def write_piece(
    path: str, keys: Sequence[str], rows: Sequence[bytes], notes: Sequence[bytes] = ()
) -> None:
    """Writes rows, sorted by their keys, as a piece.

    Args:
      path: The path of the piece.
      keys: The keys of the rows, 32 ASCII characters each.
      rows: The bytes of the rows.
      notes: The notes of the rows; empty where they have none.
    """
    # A piece that a loss of power has spoiled is known by its checksum, and made again.
    with create_whole(path, f"{path}{PART_SUFFIX}", durable=False) as file:
        for block in encode_piece(keys, rows, notes):
            file.write(block)


def encode_piece(
    keys: Sequence[str], rows: Sequence[bytes], notes: Sequence[bytes] = ()
) -> tuple[bytes, bytes]:
    """Returns the head and the body of the piece that `write_piece` would write."""
    notes = notes or [b""] * len(rows)
    index = np.empty(len(rows), _ENTRY)
    index["key"] = keys
    index["length"] = [len(row) for row in rows]
    index["note"] = [len(note) for note in notes]
    order = np.argsort(index["key"], kind="stable")
    positions = order.tolist()
    body = b"".join(
        (
            index[order].tobytes(),
            *(notes[position] for position in positions),
            *(rows[position] for position in positions),
        )
    )
    return _HEAD.pack(len(rows), google_crc32c.value(body)), body


def read_keys(path: str) -> list[str]:
    """Returns the keys of a piece's rows, once its checksum is verified.

    Raises:
      BrokenPieceError: the piece is not what was written.
      OSError: the piece cannot be read.
    """
    with io.BytesIO(read_part(path)) if is_part(path) else open_plain(path) as file:
        head = file.read(_HEAD.size)
        body = file.read() if len(head) == _HEAD.size else b""
    if not body:
        raise BrokenPieceError(f"The piece {path} is cut short.")
    count, checksum = _HEAD.unpack(head)
    if google_crc32c.value(body) != checksum:
        raise BrokenPieceError(f"The piece {path} does not match its checksum.")
    index = np.frombuffer(body, _ENTRY, count)
    return [key.decode() for key in index["key"].tolist()]


def merge_pieces(
    paths: Sequence[str],
    write: Callable[[bytes], object],
    chosen: Sequence[npt.NDArray[np.uint32] | None] | None = None,
) -> MergedRows:
    """Writes the rows of pieces in the order of their keys.

    Args:
      paths: The paths of the pieces, or their locations in sheaves.
      write: The function that takes the bytes.
      chosen: For each piece the positions of its rows to write, None for all of them.

    Returns:
      The keys and notes of the rows in the same order.

    Raises:
      DuplicateRowError: two rows have one key.
      OSError: a piece is cut short or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        pieces = stack.enter_context(contextlib.closing(_OpenPieces(paths)))
        if not paths:
            return MergedRows(np.empty(0, f"S{KEY_BYTES}"), [])
        if len(paths) > _MAX_OPEN or any(is_part(path) for path in paths):
            pieces.gather(stack.enter_context(tempfile.TemporaryFile()))
        heads = [pieces.read_head(number) for number in range(len(paths))]
        indexes = [index for index, _ in heads]
        begins = [_starts(index) for index in indexes]
        notes = [of_piece for _, of_piece in heads]
        for number, rows in enumerate(chosen or ()):
            if rows is not None:
                indexes[number], begins[number] = indexes[number][rows], begins[number][rows]
                notes[number] = [notes[number][row] for row in rows.tolist()]
        keys = np.concatenate([index["key"] for index in indexes])
        lengths = np.concatenate([index["length"] for index in indexes]).astype(np.int64)
        owners = np.repeat(np.arange(len(paths)), [len(index) for index in indexes])
        starts = np.concatenate(begins)
        order = np.argsort(keys, kind="stable")
        sorted_keys: npt.NDArray[np.bytes_] = keys[order]
        lengths, owners, starts = (a[order] for a in (lengths, owners, starts))
        twice = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1])
        if len(twice):
            raise DuplicateRowError(
                f"The row with key {sorted_keys[twice[0]].decode()} arrived twice."
            )
        ends = starts + lengths
        breaks = (owners[1:] != owners[:-1]) | (starts[1:] != ends[:-1])
        firsts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
        lasts = np.concatenate([firsts[1:], [len(order)]]) - 1
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            if last >= 0:
                pieces.copy(int(owners[first]), int(starts[first]), int(ends[last]), write)
        together = list(itertools.chain.from_iterable(notes))
        return MergedRows(sorted_keys, [together[position] for position in order.tolist()])


def _starts(index: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Returns the offset of each row in the file of a piece."""
    lengths = index["length"].astype(np.int64)
    header = _HEAD.size + len(index) * _ENTRY.itemsize + int(index["note"].sum(dtype=np.int64))
    starts: npt.NDArray[np.int64] = header + np.cumsum(lengths) - lengths
    return starts


def _open(path: str) -> IO[bytes]:
    """Opens a piece, which is read forward only."""
    if path.startswith(SCHEME):
        # Beam's reader would hold 16 MiB of each of many pieces.
        return open_ranged(path, http=HttpPolicy())
    return open_plain(path)


class _OpenPieces:
    """The files of pieces, opened when they are read, and not too many at once."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._files: dict[int, IO[bytes]] = {}
        self._together: IO[bytes] | None = None
        self._parts: dict[int, tuple[int, int]] = {}

    def gather(self, together: IO[bytes]) -> None:
        """Copies small pieces, and those in sheaves, into one file, and reads them from there."""
        self._together = together
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
            for first in range(0, len(self._paths), _READ_AT_ONCE):
                some = self._paths[first : first + _READ_AT_ONCE]
                for number, data in enumerate(threads.map(_read_small, some), first):
                    if data is not None:
                        self._parts[number] = together.tell(), len(data)
                        together.write(data)

    def read_head(self, number: int) -> tuple[npt.NDArray[np.void], list[bytes]]:
        """Reads the index of a piece, and the notes of its rows."""
        count, _ = _HEAD.unpack(self._read(number, 0, _HEAD.size))
        size = count * _ENTRY.itemsize
        index = np.frombuffer(self._read(number, _HEAD.size, size), _ENTRY)
        ends = np.cumsum(index["note"], dtype=np.int64).tolist()
        notes = self._read(number, _HEAD.size + size, ends[-1] if ends else 0)
        return index, [notes[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    def copy(self, number: int, start: int, end: int, write: Callable[[bytes], object]) -> None:
        """Copies a stretch of a piece's file."""
        while start < end:
            block = self._read(number, start, min(_BLOCK, end - start))
            write(block)
            start += len(block)

    def close(self) -> None:
        """Closes all files."""
        while self._files:
            self._files.popitem()[1].close()

    def _file(self, number: int) -> IO[bytes]:
        file = self._files.pop(number, None)
        if file is None:
            if len(self._files) >= _MAX_OPEN:
                self._files.pop(next(iter(self._files))).close()  # It is the least recently used.
            file = _open(self._paths[number])
        self._files[number] = file
        return file

    def _read(self, number: int, start: int, count: int) -> bytes:
        if self._together is not None and number in self._parts:
            begin, size = self._parts[number]
            self._together.seek(begin + start)
            data = self._together.read(min(count, max(0, size - start)))
        else:
            file = self._file(number)
            file.seek(start)
            data = file.read(count)
        if len(data) < count:
            raise BrokenPieceError(f"The piece {self._paths[number]} is cut short.")
        return data


def _read_small(path: str) -> bytes | None:
    if is_part(path):
        return read_part(path)
    with open_plain(path) as file:
        data = file.read(_SMALL_BYTES + 1)
    return data if len(data) <= _SMALL_BYTES else None
