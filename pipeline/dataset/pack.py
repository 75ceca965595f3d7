"""A committed directory of archives, as its pack.json tells it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import UnreadableRunError
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.layout import PACK_FILE
from image_features.pipeline.dataset.run import read_record
from image_features.transforms.shards.shard_file import ShardFile


@dataclasses.dataclass(frozen=True)
class Pack:
    """A committed directory of archives.

    Attributes:
      directory: The directory.
      record: The content of its pack.json.
    """

    directory: str
    record: Mapping[str, Any]

    @classmethod
    def read(cls, directory: str) -> Pack | None:
        """Reads a directory's pack.json; returns None where there is none.

        Raises:
          UnreadableRunError: pack.json is there but is not one of ours.
          OSError: the directory cannot be read.
        """
        record = read_record(directory, PACK_FILE)
        if record is None:
            return None
        pack = cls(directory, record)
        try:
            _ = pack.counts, pack.all_files
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            path = FileSystems.join(directory, PACK_FILE)
            raise UnreadableRunError(
                f"{path} is not a file of `image-features pack` ({error}); copy it from a backup, "
                "or remove the directory and pack the images again."
            ) from error
        return pack

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.record["counts"])

    @functools.cached_property
    def all_files(self) -> tuple[ShardFile, ...]:
        """Every file that the commit lists: archives and errors shards."""
        return tuple(ShardFile.from_json(entry) for entry in self.record["files"])

    def files(self, kind: str = "images") -> list[ShardFile]:
        """Returns the files of a kind in order: the archives, "images", or "errors"."""
        return [file for file in self.all_files if file.kind == kind]

    def path(self, file: ShardFile) -> str:
        """Returns the path of one of the files."""
        return FileSystems.join(self.directory, file.name)
