"""Manifests of one JSON object a line, and errors shards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.rows import ManifestRow, make_row, plain

ERROR_FIELDS = ("key", "stage", "reason", "message", "attempts")
COLLISION_PREFIX = "column/"
_ERRORS_SHARD = re.compile(r"(^|/)errors-\d{5,}-of-\d{5,}\.jsonl$")
# No manifest column can have this name: it stands for the URI of an errors shard's row.
_ERRORS_URI = "\0uri"


def read_jsonl(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    """Yields the rows of a JSONL file, which may be an errors shard."""
    is_errors_shard = bool(_ERRORS_SHARD.search(location))
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            yield ManifestRow(number, problem=f"the line is not JSON ({error}): {line[:80]!r}")
            continue
        if not isinstance(values, dict):
            yield ManifestRow(number, problem=f"the line is not a JSON object: {line[:80]!r}")
            continue
        column = uri_column
        if is_errors_shard:
            # Every errors shard has the URI in `uri`, whatever the first manifest called it.
            for name in ERROR_FIELDS:
                values.pop(name, None)
            column = _ERRORS_URI
            values[column] = values.pop("uri", None)
            values = {name.removeprefix(COLLISION_PREFIX): v for name, v in values.items()}
        yield make_row(number, {k: plain(v) for k, v in values.items()}, column)
