"""Parts of partitions that wait in files, where a runner would hold them in memory."""

from __future__ import annotations

import dataclasses
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator

from image_features.transforms.shards.pieces import PART_SUFFIX
from image_features.transforms.shards.sheaf import PREFIX, read_part, write_sheaf


@dataclasses.dataclass(frozen=True)
class Spill:
    """Where parts of partitions wait for the others.

    The in-process runner keeps what it groups in memory, up to three times. With a directory it
    keeps the locations of parts in files, of which each has a part for every partition. Other
    runners have disks of their own for this, and get the parts themselves.

    Attributes:
      directory: A local directory for the files, which is made when it is needed; empty for none.
    """

    directory: str = ""

    def put(self, parts: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Yields partitions with what waits for them: parts, or their locations."""
        if not self.directory:
            yield from parts
            return
        of_partition = dict(parts)
        if not of_partition:
            return
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, f"{PREFIX}{uuid.uuid4().hex}")
        locations = write_sheaf(path, of_partition, f"{path}{PART_SUFFIX}")
        for partition, location in zip(of_partition, locations, strict=True):
            yield partition, os.fsencode(location)

    def clear(self) -> None:
        """Removes what earlier attempts have left, as far as the disk lets it."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def get(self, waiting: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the parts that `put` took.

        Raises:
          OSError: a file cannot be read.
        """
        for part in waiting:
            yield read_part(os.fsdecode(part)) if self.directory else part
