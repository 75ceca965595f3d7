"""Whether the files that runs list are there, by their names and sizes; none of them is read."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset.file_list import FileList
from image_features.pipeline.dataset.run import Run
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.listing import Listed, list_files, side_by_side


def lost_file(run: Run, files: FileList, found: Sequence[Listed]) -> ShardFile | None:
    """Returns the first of a run's files that is not among those found, by path and size."""
    sizes = {listed.path: listed.size for listed in found}
    listed = zip(files.column("name"), files.column("bytes"), strict=True)
    for number, (name, size) in enumerate(listed):
        if sizes.get(FileSystems.join(run.directory, name)) != size:
            return files[number]
    return None


def check_whole(runs: Sequence[Run], kinds: Sequence[str]) -> None:
    """Makes sure that the files which runs list are there, by their sizes; none of them is read.

    Raises:
      ValueError: a run has lost a file.
    """

    def lost(run: Run) -> ShardFile | None:
        for kind in kinds:
            files = run.files(kind)
            if files and (file := lost_file(run, files, list_files(run.directory, f"{kind}-"))):
                return file
        return None

    where = runs[0].directory if runs else ""
    for run, file in zip(runs, side_by_side(where, lost, runs), strict=True):
        if file:
            raise ValueError(
                f"{run.directory} has lost {file.name}; copy it from a backup, or delete "
                "that run, its run.json first."
            )
