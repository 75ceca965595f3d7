"""The vectors of rows in a temporary file, and their exact cosines."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt

from image_features.errors import UsageError
from image_features.pipeline.dataset.records import Floats

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
# A batch of vectors has 16 MiB as float32.
_BATCH_VALUES = 1 << 22


class Vectors:
    """Vectors, each under the number of its row, in a file that nobody else sees.

    A vector takes four bytes of disk a value, and some 30 bytes of memory in all. The file has no
    name, so that the disk is free again however the process ends.

    Args:
      rows: The number of rows.
      width: The length of a vector.

    Raises:
      UsageError: the disk has no room for so many.
    """

    def __init__(self, rows: int, width: int) -> None:
        directory = tempfile.gettempdir()
        needed, free = 4 * rows * width, shutil.disk_usage(directory).free
        if needed > free:
            raise UsageError(
                f"The vectors of {rows} rows take {needed >> 20} MiB in {directory}, which has "
                f"{free >> 20} MiB free; make room there, or name another directory in TMPDIR."
            )
        # A buffer would read far more than a row.
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self.width = width
        self._slots = np.full(rows, -1, np.int64)
        self._written: list[Ints] = []
        self._size = 0
        self.squares: Doubles = np.zeros(rows)

    def __enter__(self) -> Vectors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, rows: Ints, features: Floats) -> None:
        """Adds vectors, float32 [rows, width]; what is not finite counts as 0, as in a search."""
        self._slots[rows] = np.arange(self._size, self._size + len(rows))
        self._size += len(rows)
        self._written.append(rows)
        size = max(1, _BATCH_VALUES // self.width)
        for start in range(0, len(rows), size):
            some = features[start : start + size]
            batch = np.nan_to_num(some, nan=0.0, posinf=0.0, neginf=0.0).astype("<f4", order="C")
            left = batch.data.cast("B")
            while left:
                left = left[self._file.write(left) :]
            wide = batch.astype(np.float64)
            self.squares[rows[start : start + size]] = np.einsum("ij,ij->i", wide, wide)

    def batches(self) -> Iterator[tuple[Ints, Doubles]]:
        """Yields all vectors in the order in which they were added, at length one."""
        written = np.concatenate([np.empty(0, np.int64), *self._written])
        size = max(1, _BATCH_VALUES // self.width)
        for start in range(0, len(written), size):
            rows = written[start : start + size]
            yield rows, self.unit(rows)

    def take(self, rows: Ints) -> Floats:
        """Reads vectors, float32 [rows, width]."""
        slots = self._slots[rows]
        found = np.empty((len(rows), self.width), "<f4")
        # What lies together in the file is read together.
        starts = np.flatnonzero(np.diff(slots, prepend=-2) != 1)
        for start, stop in itertools.pairwise([*starts, len(rows)]):
            self._file.seek(4 * self.width * int(slots[start]))
            left = found[start:stop].data.cast("B")
            while left:
                read = self._file.readinto(left)
                if not read:
                    raise EOFError("The temporary file of vectors has been cut short.")
                left = left[read:]
        return found

    def unit(self, rows: Ints) -> Doubles:
        """Reads vectors and scales them to length one, float64; zeros stay zeros."""
        lengths = np.sqrt(self.squares[rows])
        return self.take(rows) / np.where(lengths > 0, lengths, 1)[:, np.newaxis]

    def cosines(self, first: Ints, second: Ints) -> Doubles:
        """Computes the cosine of each pair of rows in float64, float64 [pairs].

        Equal vectors have exactly 1, as the root of a square is exact; the others err by less
        than 1e-12, and none depends on which pairs are asked for together.
        """
        size = max(1, _BATCH_VALUES // self.width)
        found = np.empty(len(first))
        for start in range(0, len(first), size):
            pair = slice(start, start + size)
            rows, places = np.unique([first[pair], second[pair]], return_inverse=True)
            vectors = self.take(rows)
            one, other = places.reshape(2, -1)
            products = np.einsum(
                "ij,ij->i", vectors[one].astype(np.float64), vectors[other].astype(np.float64)
            )
            squares = self.squares[rows]
            found[pair] = products / np.sqrt(squares[one] * squares[other])
        return np.minimum(found, 1.0)
