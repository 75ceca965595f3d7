"""The rows that failed in a run: examples by reason, and what is to be done about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from image_features.pipeline.dataset.layout import RunLayout
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import read_lines
from image_features.transforms.values import DIAGNOSES, Reason

_LINES = 100_000
_TEXT = 2000
_MESSAGE = 300


class Example(NamedTuple):
    """A row that failed.

    Attributes:
      uri: The location of the image.
      message: What went wrong.
    """

    uri: str
    message: str


def examples(
    paths: Iterable[str], counts: Mapping[str, int], each: int = 1
) -> dict[str, list[Example]]:
    """Reads examples of each reason from errors shards, in bounded time.

    Args:
      paths: The locations of the errors shards that have rows.
      counts: The number of rows by reason.
      each: The number of examples of a reason.

    Raises:
      OSError, ValueError, KeyError: a shard cannot be read.
    """
    found: dict[str, list[Example]] = {reason: [] for reason in counts}
    missing, lines = sum(min(each, count) for count in counts.values()), 0
    for path in paths:
        if not missing or lines > _LINES:
            break
        for line in read_lines(path):
            error = json.loads(line)
            of = found.setdefault(error["reason"], [])
            if len(of) < each:
                of.append(Example(str(error["uri"])[:_TEXT], str(error["message"])[:_TEXT]))
                missing -= 1
            lines += 1
            if not missing or lines > _LINES:
                break
    return found


@dataclasses.dataclass(frozen=True)
class ErrorShards:
    """The errors shards of a run, committed or not.

    Attributes:
      directory: The directory of the run.
      paths: The locations of those that have rows.
    """

    directory: str
    paths: tuple[str, ...] = ()

    @classmethod
    def among(cls, layout: RunLayout, files: Iterable[ShardFile]) -> ErrorShards:
        """Returns the errors shards among the files of a run."""
        names = [file.name for file in files if file.kind == "errors" and file.rows]
        return cls(layout.directory, tuple(map(layout.path, names)))

    def __str__(self) -> str:
        """Returns where they lie, as a pattern."""
        return f"{self.directory}/errors-*.jsonl"

    def messages(self, counts: Mapping[str, int]) -> dict[str, str]:
        """Returns a message of each reason; none if the shards cannot be read."""
        try:
            found = examples(self.paths, counts)
        except Exception:  # Each file system has exceptions of its own, and messages illustrate.
            return {}
        return {reason: of[0].message for reason, of in found.items() if of}


def in_words(reason: str, count: int, message: str | None) -> str:
    """Returns a line about the failures of a reason: their number, an example and the way out."""
    shown = _printable(message[:_MESSAGE]).rstrip(".") if message else ""
    remedy = DIAGNOSES[Reason(reason)].remedy if reason in DIAGNOSES else ""
    said = [word for word in remedy.split() if word.startswith("--") and word.strip(",") in shown]
    return "; ".join(
        part for part in (f"{count} {reason}", shown, remedy if not said else "") if part
    )


def _printable(text: str) -> str:
    """Returns a text that does nothing to a terminal and stays on its line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
