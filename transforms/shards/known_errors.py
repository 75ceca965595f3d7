"""What committed runs say of images that failed, in partitions, and which of it still holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from image_features.transforms.runtime.packing import pack, unpack
from image_features.transforms.shards.known_index import (
    TOMBSTONE,
    KnownFile,
    Latest,
    partition_of,
)
from image_features.transforms.stores.files import read_lines
from image_features.transforms.stores.uris import image_key, key_of_text
from image_features.transforms.values import Stage

_KEY = re.compile("[0-9a-f]{32}")


def split_errors(file: KnownFile, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yields the parts of a shard of errors by partition, for `outstanding`."""
    parts: dict[int, list[Any]] = {}
    for line in read_lines(file.path):
        error = json.loads(line)
        # A row that could not be read names no image, so that its own text is its identity.
        unread = error["stage"] == Stage.READ_MANIFEST
        key = key_of_text(line.decode()) if unread else _key_of(error)
        parts.setdefault(partition_of(key, partitions), []).append(
            (key, file.age, str(error["reason"]), line)
        )
    return ((number, pack(rows)) for number, rows in parts.items())


def outstanding(packs: Iterable[bytes], latest: Latest) -> Iterator[tuple[str, str, bytes]]:
    """Yields key, reason and line of each latest error whose image has no row."""
    last: dict[str, tuple[int, str, bytes]] = {}
    for packed in packs:
        for key, age, reason, line in unpack(packed):
            last[key] = min(last.get(key, (age, reason, line)), (age, reason, line))
    positions, there = latest.find([bytes.fromhex(key) for key in last])
    for position, is_there, (key, (age, reason, line)) in zip(
        positions.tolist(), there.tolist(), last.items(), strict=True
    ):
        if is_there:
            removed_before = latest.files[position] == TOMBSTONE and latest.ages[position] > age
            if not removed_before:
                continue
        yield key, reason, line


def _key_of(error: Mapping[str, Any]) -> str:
    """Returns the key of an error's image.

    The lines of earlier versions have none, or a column's value under that name.
    """
    key = str(error.get("key"))
    return key if _KEY.fullmatch(key) else image_key(error["uri"])
