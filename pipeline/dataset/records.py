"""The rows of all committed runs of a dataset, without TensorFlow and in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.run import Run
from image_features.transforms.shards import record_format
from image_features.transforms.shards.record_format import KEY, RECORDS, Record
from image_features.transforms.shards.shard_file import ShardFile

Floats = npt.NDArray[np.float32]
OFFSET_BITS = 40
_BLOCK_ROWS = 2048


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows of one run.

    Attributes:
      run: The run.
      keys: The keys of the rows, bytes16 [rows].
      features: Their vectors, float32 [rows, num_features].
      records: Their other fields, [rows].
      addresses: Their addresses, uint64 [rows]: the number of the file among all of the dataset's,
        shifted by OFFSET_BITS, and the offset in it. A search index keeps no more of a row.
    """

    run: Run
    keys: npt.NDArray[np.bytes_]
    features: Floats
    records: Sequence[Record]
    addresses: npt.NDArray[np.uint64]

    def only(self, mask: npt.NDArray[np.bool_]) -> Block:
        """Returns those of the rows that a mask marks."""
        if mask.all():
            return self
        rows = np.flatnonzero(mask)
        records = [self.records[int(row)] for row in rows]
        return Block(self.run, self.keys[rows], self.features[rows], records, self.addresses[rows])


def open_shard(run: Run, shard: ShardFile) -> AbstractContextManager[IO[bytes]]:
    """Opens a shard for reading, decompressed."""
    return record_format.open_shard(run.path(shard), compressed=run.compressed)


def blocks(run: Run, file: Any, address: int = 0, rows: int = _BLOCK_ROWS) -> Iterator[Block]:
    """Yields the rows from where a shard's file is.

    Args:
      run: The run that the shard belongs to.
      file: The open shard, from `open_shard`.
      address: The address of the first row that is read.
      rows: The number of rows in a block.

    Raises:
      ValueError: the shard is not as it was written.
    """
    records: list[Record] = []
    addresses: list[int] = []
    for payload in RECORDS.payloads(file):
        records.append(RECORDS.parse(payload))
        addresses.append(address)
        address += len(payload)
        if len(records) == rows:
            yield _block(run, records, addresses)
            records, addresses = [], []
    if records:
        yield _block(run, records, addresses)


def _block(run: Run, records: list[Record], addresses: list[int]) -> Block:
    try:
        vectors = run.vector.of(records)
    except ValueError as error:
        raise ValueError(f"A shard of {run.directory} is not as run.json says: {error}") from error
    keys = np.array([bytes.fromhex(record.text(KEY)) for record in records], "S16")
    return Block(run, keys, vectors, records, np.array(addresses, np.uint64))
