"""What an export writes to: a directory of files, or a database of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from image_features.transforms.shards.shard_file import ShardFile

# The kinds of what a target has taken, with which names of files begin. Readers of a directory pass
# those with an underscore over.
VECTORS, REMOVED_KEYS = "vectors", "_removed"
# The directory of a Lance table in a target, which itself lists the files that it consists of.
TABLE = "vectors.lance"


class Target(Protocol):
    """Where exported rows go.

    `write` does the work on many machines. `finish` comes once, after everything was counted and
    just before the export is committed; where it fails, or the process dies, both are done again.
    """

    def write(self, merged: Any) -> Any:
        """Adds the writing of rows to a pipeline.

        Args:
          merged: A `Merged` of `transforms.merge_rows`: PCollections `features` of ShardRow, and
            `removed` of ShardRow, the keys whose rows are gone.

        Returns:
          A PCollection[ShardFile] of what was written, of the kinds `VECTORS` and `REMOVED_KEYS`.
        """

    def finish(self, written: Sequence[ShardFile], record: Mapping[str, Any]) -> None:
        """Makes what was written visible to readers, if writing did not.

        Args:
          written: What `write` gave.
          record: The content of .export.json.

        Raises:
          ValueError: the target is not as it should be then.
        """
