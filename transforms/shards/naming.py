"""Where the shards of a run go, and the pieces that they are made of."""

from __future__ import annotations

import dataclasses

from apache_beam.io.filesystems import FileSystems

from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.sheaf import PREFIX


@dataclasses.dataclass(frozen=True)
class ShardNaming:
    """The names of the shards of one kind, of their indexes and of their pieces.

    Attributes:
      kind: The kind of shard, the first part of the name: "features", "errors", "removed" or
        "tombstones".
      directory: The directory of the run.
      staging: The directory for pieces, deleted after the commit.
      suffix: The last part of the name, with its dot; ".gz" compresses.
      fingerprint: The hash of all that a row's bytes depend on beside the row; pieces of one
        fingerprint are together.
      indexed: Whether each shard gets an index beside it (see `transforms.shards.index`).
      seal: The path of the file that commits the run: once it is there, no shard is written.
    """

    kind: str
    directory: str
    staging: str
    suffix: str
    fingerprint: str = ""
    indexed: bool = False
    seal: str = ""

    @property
    def has_empty(self) -> bool:
        """Whether a shard without rows has a file too."""
        return True

    def name(self, index: int, count: int) -> str:
        """Returns the file name of a shard."""
        return f"{self.kind}-{index:05d}-of-{count:05d}{self.suffix}"

    def index_name(self, index: int, count: int) -> str:
        """Returns the file name of a shard's index."""
        return f"{INDEX_KIND}-{index:05d}-of-{count:05d}.parquet"

    @property
    def pieces(self) -> str:
        """The directory of pieces."""
        name = f"{self.kind}-{self.fingerprint}" if self.fingerprint else self.kind
        return FileSystems.join(self.staging, name)

    def piece_prefix(self, index: int) -> str:
        """Returns what the paths of all pieces of a shard begin with."""
        return FileSystems.join(self.pieces, f"{index:05d}-")

    @property
    def sheaf_prefix(self) -> str:
        """What the paths of all sheaves of pieces begin with."""
        return FileSystems.join(self.pieces, PREFIX)
