"""A committed directory of archives, as its pack.json tells it."""

from __future__ import annotations

import dataclasses
import functools

from image_features.pipeline.dataset.committed import CommittedFiles
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.file_list import FileList
from image_features.pipeline.dataset.layout import PACK_FILE


@dataclasses.dataclass(frozen=True)
class Pack(CommittedFiles):
    """A committed directory of archives; the files are archives and errors shards."""

    commit_file = PACK_FILE
    command = ("pack", "remove the directory and pack the images again")

    def check(self) -> None:
        """Looks at all that readers need."""
        _ = self.counts

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.commit.record["counts"])

    def files(self, kind: str = "images") -> FileList:
        """Returns the files of a kind in order: the archives, "images", or "errors"."""
        return self.all_files.of_kind(kind)
