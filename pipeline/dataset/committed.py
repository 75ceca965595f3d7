"""What a job has committed in a directory, as the file that lists it tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from apache_beam.io.filesystems import FileSystems

from image_features.errors import UnreadableRunError
from image_features.pipeline.dataset.file_list import Commit, FileList
from image_features.pipeline.dataset.run import read_record
from image_features.transforms.shards.shard_file import ShardFile


@dataclasses.dataclass(frozen=True)
class CommittedFiles:
    """Files that a job has committed together.

    Attributes:
      commit_file: The name of the file that lists them, of each class its own.
      command: The command that writes it, and how else to get the files, in an imperative.
      directory: The directory of the files.
      commit: The content of the file that lists them, with the files that it lists.
    """

    commit_file: ClassVar[str]
    command: ClassVar[tuple[str, str]]

    directory: str
    commit: Commit

    @classmethod
    def read(cls, directory: str) -> Self | None:
        """Reads what is committed in a directory; returns None where nothing is.

        Raises:
          UnreadableRunError: the commit file is there but is not one of ours.
          OSError: the directory cannot be read.
        """
        record = read_record(directory, cls.commit_file)
        if record is None:
            return None
        try:
            return cls.of(directory, record)
        except ValueError as error:
            path, (_, again) = FileSystems.join(directory, cls.commit_file), cls.command
            raise UnreadableRunError(
                f"{path} is damaged: {error}. Copy it from a backup, or {again}."
            ) from error

    @classmethod
    def of(cls, directory: str, record: Mapping[str, Any]) -> Self:
        """Returns what a record tells of.

        Raises:
          ValueError: it is no such record.
        """
        # A database is no directory, and has the record in a table.
        path = f"{directory.rstrip('/')}/{cls.commit_file}"
        try:
            committed = cls(directory, Commit.of(directory, record, path))
            committed.check()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"what it says is not of `image-features {cls.command[0]}` ({error!r})"
            ) from error
        return committed

    def check(self) -> None:
        """Looks at all that readers need, which fails where it is not there."""

    @property
    def record(self) -> dict[str, Any]:
        """The content of the file that lists them, as it is."""
        return self.commit.to_json()

    @property
    def all_files(self) -> FileList:
        """Every file that the commit lists; raises what `Run.all_files` does."""
        return self.commit.files

    def path(self, file: ShardFile) -> str:
        """Returns the path of one of the files."""
        return FileSystems.join(self.directory, file.name)
