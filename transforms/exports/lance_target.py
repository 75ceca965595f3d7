"""LanceTarget: exports that are a Lance table in a directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.transforms.exports.fields import KEY_NAME
from image_features.transforms.exports.file_target import Files, FileTarget
from image_features.transforms.exports.lance_table import LanceTable, check_rows
from image_features.transforms.exports.lance_vectors import LanceVectors
from image_features.transforms.exports.target import REMOVED_KEYS, TABLE, VECTORS
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import open_plain, sync_names


@dataclasses.dataclass(frozen=True)
class DataNaming(ShardNaming):
    """The names of a table's data files; Lance writes none without rows."""

    @property
    def has_empty(self) -> bool:
        """Whether a shard without rows has a file too."""
        return False

    def name(self, index: int, count: int) -> str:
        """Returns the file name of a shard, in the target's directory."""
        return f"{TABLE}/data/{super().name(index, count)}"


@dataclasses.dataclass(frozen=True)
class LanceTarget(FileTarget):
    """A Lance table.

    Workers write its data files, each a fragment, under names that only this export has. Readers
    see them when `finish` has made a version of the table that refers to them.

    Attributes:
      directory: The directory that the table is in.
      export: The name of the export.
      since: The name of the export before; None for one of all rows.
    """

    directory: str
    export: str
    since: str | None

    @property
    def table(self) -> LanceTable:
        """The table."""
        return LanceTable(FileSystems.join(self.directory, TABLE), self.fields)

    @property
    def files(self) -> tuple[Files, *tuple[Files, ...]]:
        """The data files."""
        import lance

        # A version of the table may refer to a file already when an attempt writes it once more:
        # the bytes must be the same, and those of another release of pylance need not be.
        suffix = f"-{self.export}-{lance.__version__}.lance"
        names = dataclasses.asdict(self.vectors) | {"directory": self.directory, "suffix": suffix}
        return ((DataNaming(**names), LanceVectors(self.fields)),)

    def finish(self, written: Sequence[ShardFile], record: Mapping[str, Any]) -> None:
        """Commits one version of the table, and makes sure that it has the dataset's rows.

        Raises:
          ValueError: it has not, or another has changed it.
        """
        table = self.table
        files = [
            dataclasses.replace(file, name=file.name.rpartition("/")[2])
            for file in written
            if file.kind == VECTORS
        ]
        if files:
            sync_names(table.data)
        if self.since is None:
            made = table.put(self.export, files)
        else:
            removed = list(self._removed_keys(written))
            made = table.change(self.export, self.since, files, removed, record["rows"])
        check_rows(table.path, made.count_rows(), record["rows"])
        table.flush()
        table.tidy_up(made)

    def _removed_keys(self, written: Sequence[ShardFile]) -> Iterator[str]:
        import pyarrow.parquet as pq

        assert self.removed
        for file in written:
            if file.kind == REMOVED_KEYS and file.rows:
                path = FileSystems.join(self.removed.directory, file.name)
                with open_plain(path) as data:
                    yield from pq.read_table(data)[KEY_NAME].to_pylist()
