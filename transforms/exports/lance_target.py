"""LanceTarget: exports that are a Lance table in a directory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from image_features.system.disks import make_directories
from image_features.transforms.exports.fields import KEY_NAME
from image_features.transforms.exports.lance_table import LanceTable, check_rows
from image_features.transforms.exports.lance_vectors import LanceVectors
from image_features.transforms.exports.parquet_vectors import RemovedKeys
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.write_shards import WriteShards
from image_features.transforms.stores.files import open_plain, remove_file, sync_names

# The name of the table in a target's directory.
TABLE = "vectors.lance"


@dataclasses.dataclass(frozen=True)
class LanceTarget:
    """A Lance table.

    Workers write its data files, each a fragment, under names that only this export has. Readers
    see them when `finish` has made a version of the table that refers to them.

    Attributes:
      table: The table.
      vectors: The names of the data files, as those of an export of files would be.
      removed: The names of the files that list removed keys; None where nothing can be removed,
        since the table is new.
      num_shards: The number of data files.
      export: The name of the export.
      since: The name of the export before; None for one of all rows.
    """

    table: LanceTable
    vectors: ShardNaming
    removed: ShardNaming | None
    num_shards: int
    export: str
    since: str | None

    def write(self, merged: Any) -> Any:
        """Adds the writing of rows to a pipeline."""
        import lance

        if "://" not in self.table.data:
            make_directories(self.table.data)
        # A version of the table may refer to a file already when an attempt writes it once more:
        # the bytes must be the same, and those of another release of pylance need not be.
        suffix = f"-{self.export}-{lance.__version__}.lance"
        naming = dataclasses.replace(self.vectors, directory=self.table.data, suffix=suffix)
        written = [
            merged.features
            | "WriteVectors"
            >> WriteShards(
                naming=naming,
                num_shards=self.num_shards,
                content=LanceVectors(self.table.fields),
            )
            | "NameInTable" >> beam.Map(_in_table)
        ]
        if self.removed:
            written.append(
                merged.removed
                | "WriteRemoved"
                >> WriteShards(
                    naming=self.removed, num_shards=self.num_shards, content=RemovedKeys()
                )
            )
        return written | "CollectFiles" >> beam.Flatten()

    def finish(self, written: Sequence[ShardFile], record: Mapping[str, Any]) -> None:
        """Commits one version of the table, and makes sure that it has the dataset's rows.

        Raises:
          ValueError: it has not, or another has changed it.
        """
        files = [
            dataclasses.replace(file, name=file.name.rpartition("/")[2])
            for file in written
            if file.kind == VECTORS
        ]
        sync_names(self.table.data)
        if self.since is None:
            table = self.table.put(self.export, files)
        else:
            removed = list(self._removed_keys(written))
            table = self.table.change(self.export, self.since, files, removed, record["rows"])
        check_rows(self.table.path, table.count_rows(), record["rows"])
        self.table.flush()
        for file in files:
            if not file.rows:
                with contextlib.suppress(OSError):
                    remove_file(FileSystems.join(self.table.data, file.name))
        self.table.tidy_up(table)

    def _removed_keys(self, written: Sequence[ShardFile]) -> Iterator[str]:
        import pyarrow.parquet as pq

        assert self.removed
        for file in written:
            if file.kind == REMOVED_KEYS and file.rows:
                path = FileSystems.join(self.removed.directory, file.name)
                with open_plain(path) as data:
                    yield from pq.read_table(data)[KEY_NAME].to_pylist()


def _in_table(file: ShardFile) -> ShardFile:
    return dataclasses.replace(file, name=f"{TABLE}/data/{file.name}")
