"""Manifests of one JSON object a line, and errors shards."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from image_features.transforms.manifests.lines import Line, read_lines, too_long
from image_features.transforms.manifests.rows import (
    UNREADABLE,
    ManifestRow,
    make_row,
    plain,
    unread_row,
)

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
    return jsonl_rows(read_lines(file, location), location, uri_column)


def is_errors_shard(location: str) -> bool:
    """Whether the name of a file says that it tells the rows of a run that failed."""
    return bool(_ERRORS_SHARD.search(location))


def jsonl_rows(
    lines: Iterable[Line], location: str, uri_column: str | None
) -> Iterator[ManifestRow]:
    """Yields the rows of some lines of a JSONL file."""
    of_errors = is_errors_shard(location)
    reader = ObjectReader()
    for line in lines:
        if line.cut:
            yield too_long(line)
            continue
        if not line.data.strip():
            continue
        number = line.number
        try:
            values = reader.read(line.data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            yield unread_row(number, f"the line is not JSON ({error}): {line.data[:80]!r}")
            continue
        if not isinstance(values, dict):
            yield unread_row(number, f"the line is not a JSON object: {line.data[:80]!r}")
            continue
        column = uri_column
        if of_errors:
            # Every errors shard has the URI in `uri`, whatever the first manifest called it.
            for name in ERROR_FIELDS:
                values.pop(name, None)
            column = _ERRORS_URI
            values[column] = values.pop("uri", None)
            values = {name.removeprefix(COLLISION_PREFIX): v for name, v in values.items()}
        row = make_row(number, {k: plain(v) for k, v in values.items()}, column)
        if reader.problem:
            row = dataclasses.replace(row, problem=reader.problem, unread=not row.uri)
        yield row


def encode_bytes(value: Any) -> dict[str, str]:
    """Returns the object by which JSON tells bytes, which `rows.plain` makes bytes again."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return {"base64": base64.b64encode(data).decode()}


class ObjectReader:
    """Reads objects of JSON, and notices what a dictionary of Python would pass over.

    Args:
      what: What holds an object, as messages call it.

    Attributes:
      problem: What is wrong with the one that was read last; empty if nothing is.
    """

    def __init__(self, what: str = "the line") -> None:
        self.problem = ""
        self._what = what
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_float=_finite)

    def read(self, text: str) -> Any:
        """Returns the value of a text; values that cannot be trusted are `UNREADABLE`.

        Raises:
          ValueError, RecursionError: the text is not JSON.
        """
        self.problem = ""
        value = self._decoder.decode(text)
        if isinstance(value, dict):
            try:
                "".join(value).encode()
            except UnicodeEncodeError:
                self.problem = f"a name in {self._what} is not UTF-8"
            if self.problem:
                return {
                    name: UNREADABLE if isinstance(item, list | dict) else item
                    for name, item in value.items()
                }
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            for name in found:
                if names.count(name) > 1:
                    self.problem = f"{self._what} names {name!r:.80} twice"
                    found[name] = UNREADABLE
        return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number
