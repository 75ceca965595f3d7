"""Rows of feature shards, and files of them, as an export makes them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from image_features.transforms.manifests.columns import Column
from image_features.transforms.shards.record_format import (
    FEATURES,
    FORMAT,
    HEIGHT,
    KEY,
    RECORDS,
    SHA256,
    URI,
    WIDTH,
    column_field,
)
from image_features.transforms.shards.shard_content import HashingSink, ShardContent


def key(number: int) -> str:
    return f"{number:032x}"


def payload(
    number: int,
    vector: Any,
    *,
    uri: str = "",
    field: str = FEATURES,
    columns: Sequence[tuple[Column, Any]] = (),
    **others: Any,
) -> bytes:
    """Returns a row as a shard has it; its other fields are taken as they are."""
    return RECORDS.encode(
        {
            KEY: [key(number).encode()],
            URI: [(uri or f"gs://bucket/{number}.jpg").encode()],
            SHA256: [f"{number:064x}".encode()],
            FORMAT: [b"jpeg"],
            WIDTH: [640 + number],
            HEIGHT: [480],
            field: np.asarray(vector, np.float32),
            **{column.name: column_field(value, column) for column, value in columns},
            **others,
        }
    )


def write(
    content: ShardContent, path: pathlib.Path, payloads: Sequence[bytes], block: int = 2**20
) -> pathlib.Path:
    """Writes a file in blocks of so many bytes, as a merge of pieces does."""
    data = b"".join(payloads)
    with path.open("wb") as file, content.open(HashingSink(file), len(payloads)) as out:
        for start in range(0, len(data), block):
            out.write(data[start : start + block])
    return path
