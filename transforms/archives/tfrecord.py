"""Records of TFRecord files that others have written.

The name of a record is `row/N`, its 0-based position.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, BinaryIO, cast

from image_features.transforms.archives import framing
from image_features.transforms.archives.member import CorruptArchiveError, Wanted
from image_features.transforms.stores.compression import (
    DamagedFileError,
    Decompressed,
    decompressed,
)
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason

# A record is held whole, and beside it the image in it.
LONGEST_RECORD = 64 * 2**20
_BLOCK = 2**18


@dataclasses.dataclass(slots=True)
class Record:
    """A record as it lies in its file.

    Attributes:
      number: Its 0-based position.
      begin: Where its length begins, in the decompressed file.
      size: The bytes of its data.
      detail: What tells its version from others; empty if it was passed over.
      data: Its data, or an error whose message is a phrase; None if it was passed over, and when it
        was taken apart.
    """

    number: int
    begin: int
    size: int
    detail: str
    data: bytes | FetchError | None


def name_of(number: int) -> str:
    """Returns the name of a record, as it stands in URIs."""
    return f"row/{number}"


class Records:
    """The records of a TFRecord file, plain or compressed as .gz, .bz2, .xz, .zst or by zlib.

    Args:
      file: The file.
      longest: The length of the longest record that is read; others are passed over.

    Attributes:
      shown: The file's name in messages.
      location: The location of the file.
      compressed: Whether it can only be read from its beginning; told when reading has begun.
    """

    def __init__(self, file: RangedFile, *, longest: int) -> None:
        self.shown = file.shown
        self.location = file.uri
        self._longest = longest
        self._plain = file
        self._stream: io.BufferedReader = file
        self._at = 0
        self.compressed = False

    def take(
        self, wanted: Sequence[Wanted], positions: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[Record, Sequence[int]]]:
        """Yields records with the positions among `wanted` that each was asked for at.

        Args:
          wanted: What is wanted.
          positions: The positions in `wanted`, by the numbers of records.

        Raises:
          CorruptArchiveError, FetchError: reading ends.
        """
        if not positions:
            return
        if self.compressed or any(place is None for _, place in wanted):
            last = max(positions)
            for record in self.scan(positions):
                if record.number in positions:
                    yield record, positions[record.number]
                if record.number >= last:
                    return
            return
        for number, places in positions.items():
            place = wanted[places[0]].place
            assert place is not None
            self._seek(place.begin)
            length = framing.length_of(self._read(framing.HEAD))
            if length != place.size:
                yield Record(number, -1, 0, "", None), places
            else:
                yield self._record(number, place.begin, length, read=True), places

    def scan(self, numbers: Mapping[int, Any] | None = None) -> Iterator[Record]:
        """Yields all records from the first on.

        Args:
          numbers: The numbers of those to read, while others are passed over; None for all.

        Raises:
          CorruptArchiveError: the file is damaged, so that its other records cannot be found.
          FetchError: it cannot be read.
        """
        self._rewind()
        number = self._at = 0
        while head := self._read(framing.HEAD):
            begin = self._at - len(head)
            length = framing.length_of(head)
            if length is None:
                what = "is cut short" if len(head) < framing.HEAD else "has no record"
                raise CorruptArchiveError(f"{self.shown} {what} at byte {begin}")
            yield self._record(number, begin, length, read=numbers is None or number in numbers)
            number += 1

    def _record(self, number: int, begin: int, length: int, *, read: bool) -> Record:
        """Reads what is behind the head of a record, or passes over it."""
        if not read or length > self._longest:
            self._skip(begin, length + framing.TAIL)
            phrase = f"it takes more than {self._longest} bytes"
            problem = FetchError(Reason.TOO_MANY_BYTES, phrase) if read else None
            return Record(number, begin, length, "", problem)
        if (rest := self._rest()) is not None and rest < length + framing.TAIL:
            raise self._cut(begin)
        data = self._read(length)
        tail = self._read(framing.TAIL)
        if len(data) + len(tail) < length + framing.TAIL:
            raise self._cut(begin)
        detail = f"{length}:{tail[::-1].hex()}"
        if framing.masked_crc(data) == tail:
            return Record(number, begin, length, detail, data)
        phrase = f"its checksum does not match, from byte {begin} on"
        return Record(number, begin, length, detail, FetchError(Reason.CORRUPT_ARCHIVE, phrase))

    def _cut(self, begin: int) -> CorruptArchiveError:
        return CorruptArchiveError(f"{self.shown} is cut short in the record at byte {begin}")

    def _rest(self) -> int | None:
        size = None if self.compressed else self._plain.size
        return None if size is None else size - self._at

    def _skip(self, begin: int, count: int) -> None:
        if (rest := self._rest()) is not None:
            if rest < count:
                raise self._cut(begin)
            self._seek(self._at + count)
            return
        while count:
            block = self._read(min(count, _BLOCK))
            if not block:
                raise self._cut(begin)
            count -= len(block)

    def _rewind(self) -> None:
        self._seek(0)
        # The length of a record may be the magic bytes of a compression.
        head = self._plain.read(framing.HEAD)
        self._plain.seek(0)
        self._stream, self.compressed = self._plain, False
        if framing.length_of(head) is None:
            try:
                stream = _decompressed(_Lent(self._plain), head, self.shown)
            except DamagedFileError as error:
                raise CorruptArchiveError(str(error)) from error
            if isinstance(stream, Decompressed):
                self._stream = io.BufferedReader(cast(Any, stream), _BLOCK)
                self.compressed = True
            else:
                self._plain.seek(0)

    def _seek(self, offset: int) -> None:
        if offset != self._at or self._stream is not self._plain:
            self._plain.seek(offset)
        self._at = offset

    def _read(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except DamagedFileError as error:
            raise CorruptArchiveError(
                f"{self.shown} is damaged or cut short as a compressed file, behind byte "
                f"{self._at} of what it holds"
            ) from error
        self._at += len(data)
        return data


def _decompressed(file: Any, head: bytes, shown: str) -> IO[bytes]:
    # TensorFlow compresses so, too. Texts may begin with the same bytes, but no record does here.
    if head[:1] == b"\x78" and int.from_bytes(head[:2]) % 31 == 0:
        return cast(BinaryIO, Decompressed(file, ".zlib", shown))
    return decompressed(file, "", shown=shown, strict=False)


class _Lent(io.RawIOBase):
    """A file that is not closed with what decompresses it."""

    def __init__(self, file: RangedFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)
