"""What `dedup` has committed in a directory, as its dedup.json tells it."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Mapping

from image_features.pipeline.dataset.committed import CommittedFiles
from image_features.pipeline.dataset.layout import DEDUP_FILE
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dedup.duplicates import Earlier
from image_features.transforms.shards.index import read_verified
from image_features.transforms.shards.shard_file import ShardFile, damaged

GROUPS, KEEP, DROP, PAGE = "groups.parquet", "keep.jsonl", "drop.jsonl", "index.html"


@dataclasses.dataclass(frozen=True)
class Counts:
    """The numbers of rows of a dataset, by what became of them.

    Attributes:
      rows: The rows that were compared.
      groups: The groups of duplicates.
      same_files: The rows that are dropped since their file is there once more.
      near: The rows that are dropped since their vector is near to that of one that is kept.
      dropped: The rows that are dropped.
      kept: The rows that are kept, also those that are duplicates of nothing.
      zero_rows: The rows whose vector has no direction.
    """

    rows: int
    groups: int
    same_files: int
    near: int
    dropped: int
    kept: int
    zero_rows: int


@dataclasses.dataclass(frozen=True)
class Result(CommittedFiles):
    """The committed duplicates of a dataset."""

    commit_file = DEDUP_FILE
    command = ("dedup", "remove the directory and find the duplicates again")

    def check(self) -> None:
        """Looks at all that readers need."""
        _ = self.counts, self.threshold, self.runs, self.vectors, self.provenance
        _ = self.files[GROUPS]

    @functools.cached_property
    def counts(self) -> Counts:
        """The numbers of rows."""
        counts, fields = self.commit.record["counts"], dataclasses.fields(Counts)
        return Counts(**{field.name: int(counts[field.name]) for field in fields})

    @property
    def threshold(self) -> float:
        """The cosine from which images are near duplicates."""
        return float(self.commit.record["threshold"])

    @property
    def runs(self) -> Mapping[str, str]:
        """The runs that were compared, and those merged into them: finish times by their names."""
        return dict(self.commit.record["runs"])

    @property
    def vectors(self) -> str:
        """The name of the model whose vectors were compared."""
        return str(self.commit.record["vectors"]["name"])

    @functools.cached_property
    def provenance(self) -> Provenance:
        """The sources of the vectors that were compared."""
        return Provenance.from_json(self.commit.record)

    @functools.cached_property
    def files(self) -> Mapping[str, ShardFile]:
        """The files that the commit lists, by their names."""
        return {file.name: file for file in self.all_files}

    def earlier(self) -> Earlier:
        """Reads what was found, for a later night.

        Raises:
          DamagedRunError: the file of the groups is not as it was written.
          OSError: it cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.files[GROUPS]
        path = self.path(file)
        data = read_verified(path, file.sha256)
        try:
            return Earlier(pq.read_table(io.BytesIO(data)), self.runs)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error
