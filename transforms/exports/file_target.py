"""FileTarget: exports that are files in a directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.parquet_vectors import ParquetVectors, RemovedKeys
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.write_shards import WriteShards


@dataclasses.dataclass(frozen=True)
class ParquetTarget:
    """A directory of Parquet files.

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

    def write(self, merged: Any) -> Any:
        """Adds the writing of rows to a pipeline."""
        written = [
            merged.features
            | "WriteVectors"
            >> WriteShards(
                naming=self.vectors,
                num_shards=self.num_shards,
                content=ParquetVectors(self.fields),
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
        """Does nothing: files are read when .export.json lists them."""
