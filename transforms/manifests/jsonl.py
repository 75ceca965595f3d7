"""Manifests of one JSON object a line, and errors shards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.lines import read_lines, too_long
from image_features.transforms.manifests.rows import ManifestRow, make_row, plain, unread_row

ERROR_FIELDS = ("key", "stage", "reason", "message", "attempts")
COLLISION_PREFIX = "column/"
_ERRORS_SHARD = re.compile(r"(^|/)errors-\d{5,}-of-\d{5,}\.jsonl$")
# No manifest column can have this name: it stands for the URI of an errors shard's row.
_ERRORS_URI = "\0uri"


def read_jsonl(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    """Yields the rows of a JSONL file, which may be an errors shard.

    Raises:
      ManifestError: the file is not UTF-8.
    """
    is_errors_shard = bool(_ERRORS_SHARD.search(location))
    for line in read_lines(file, location):
        if line.cut:
            yield too_long(line)
            continue
        if not line.data.strip():
            continue
        number = line.number
        try:
            values = json.loads(line.data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            yield unread_row(number, f"the line is not JSON ({error}): {line.data[:80]!r}")
            continue
        if not isinstance(values, dict):
            yield unread_row(number, f"the line is not a JSON object: {line.data[:80]!r}")
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
