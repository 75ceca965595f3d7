"""Rows in staging: pieces of shards, each in a file of its own or several in a sheaf."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections import Counter
from collections.abc import Sequence

from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import PART_SUFFIX, encode_piece, write_piece
from image_features.transforms.shards.sheaf import write_sheaf


@dataclasses.dataclass(slots=True)  # Freezing would take 2 microseconds a row.
class ShardRow:
    """A serialised row on its way to a shard.

    Attributes:
      shard: The shard.
      key: The key of the row, by which rows are sorted.
      payload: The bytes of the row in the shard.
      label: The label under which the row is counted; empty for none.
      note: What the row tells the shard's index.
    """

    shard: int
    key: str
    payload: bytes
    label: str = ""
    note: bytes = b""


@dataclasses.dataclass(frozen=True)
class StagedPiece:
    """Rows of a shard in staging.

    Attributes:
      shard: The shard.
      path: The path of the piece that has the rows.
      labels: The number of rows by label.
      chosen: Positions of the rows to take from it, as uint32's bytes; empty for all.
    """

    shard: int
    path: str
    labels: dict[str, int]
    chosen: bytes = b""


@dataclasses.dataclass
class Content:
    """The rows of one shard that are gathered for a piece.

    Attributes:
      shard: The shard.
      size: The bytes of the rows.
    """

    shard: int = -1
    keys: list[str] = dataclasses.field(default_factory=list)
    payloads: list[bytes] = dataclasses.field(default_factory=list)
    notes: list[bytes] = dataclasses.field(default_factory=list)
    labels: Counter[str] = dataclasses.field(default_factory=Counter)
    size: int = 0

    def add(self, row: ShardRow) -> None:
        """Adds a row."""
        self.keys.append(row.key)
        self.payloads.append(row.payload)
        self.notes.append(row.note)
        self.labels[row.label] += 1
        self.size += len(row.payload)

    def encoded(self) -> bytes:
        """Returns the bytes of the piece, and gives up those of the rows."""
        piece = b"".join(encode_piece(self.keys, self.payloads, self.notes))
        self.payloads.clear()
        return piece


def stage(naming: ShardNaming, contents: Sequence[Content]) -> list[StagedPiece]:
    """Writes a piece for each shard; several pieces become one sheaf."""
    if "://" not in naming.pieces:
        os.makedirs(naming.pieces, exist_ok=True)
    if len(contents) == 1:
        (content,) = contents
        paths = [f"{naming.piece_prefix(content.shard)}{uuid.uuid4().hex}"]
        write_piece(paths[0], content.keys, content.payloads, content.notes)
    else:
        path = f"{naming.sheaf_prefix}{uuid.uuid4().hex}"
        parts = {content.shard: content.encoded() for content in contents}
        paths = write_sheaf(path, parts, f"{path}{PART_SUFFIX}")
    return [
        StagedPiece(content.shard, path, dict(content.labels))
        for content, path in zip(contents, paths, strict=True)
    ]
