"""FileTarget: exports that are files in a directory."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.npy_vectors import (
    FOLDERS,
    Metadata,
    NpyVectors,
    NumberedNaming,
)
from image_features.transforms.exports.parquet_vectors import ParquetVectors, RemovedKeys
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.shard_content import ShardContent
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.write_shards import WriteShards
from image_features.transforms.stores.files import sync_names

# A kind of files, and what lies in them.
Files = tuple[ShardNaming, ShardContent]


@dataclasses.dataclass(frozen=True)
class FileTarget(abc.ABC):
    """A directory of files.

    Attributes:
      fields: The fields of a row.
      vectors: The names of the files.
      removed: The names of the files that list removed keys; None where nothing can be removed,
        since the directory is new.
      num_shards: The number of files with vectors.
    """

    fields: RowFields
    vectors: ShardNaming
    removed: ShardNaming | None
    num_shards: int

    @property
    @abc.abstractmethod
    def files(self) -> tuple[Files, *tuple[Files, ...]]:
        """The files with vectors, and those that have the same rows beside them."""

    def write(self, merged: Any) -> Any:
        """Adds the writing of rows to a pipeline."""
        (naming, content), *beside = self.files
        written = [
            merged.features
            | "WriteVectors"
            >> WriteShards(
                naming=naming, num_shards=self.num_shards, content=content, beside=beside
            )
        ]
        if self.removed:
            written.append(
                merged.removed
                | "WriteRemoved"
                >> WriteShards(
                    naming=self.removed,
                    num_shards=self.num_shards,
                    content=RemovedKeys(),
                )
            )
        return written | "CollectFiles" >> beam.Flatten()

    def finish(self, written: Sequence[ShardFile], record: Mapping[str, Any]) -> None:
        """Returns when names in folders would outlive a loss of power; the commit sees to the rest.

        Files are read when .export.json lists them.
        """
        for folder in sorted({file.name.rpartition("/")[0] for file in written} - {""}):
            sync_names(FileSystems.join(self.vectors.directory, folder))


@dataclasses.dataclass(frozen=True)
class ParquetTarget(FileTarget):
    """A directory of Parquet files."""

    @property
    def files(self) -> tuple[Files, *tuple[Files, ...]]:
        """The files."""
        return ((self.vectors, ParquetVectors(self.fields)),)


@dataclasses.dataclass(frozen=True)
class NpyTarget(FileTarget):
    """A directory of arrays, and of Parquet files with what else is known of their rows."""

    @property
    def files(self) -> tuple[Files, *tuple[Files, ...]]:
        """The arrays, and their metadata."""
        vectors, metadata = (
            NumberedNaming(**dataclasses.asdict(self.vectors), folder=folder) for folder in FOLDERS
        )
        return (
            (vectors, NpyVectors(self.fields)),
            (
                dataclasses.replace(metadata, kind=FOLDERS[1], suffix=".parquet"),
                ParquetVectors(Metadata(self.fields)),
            ),
        )
