"""The removal of what earlier attempts at a run have left behind."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.dataset.file_list import (
    Commit,
    count_apart,
    is_list_of_entries,
    list_of_entries,
    prefix_of,
)
from image_features.pipeline.dataset.layout import REMOVED, TOMBSTONES, RunLayout
from image_features.transforms.exports.npy_vectors import FOLDERS
from image_features.transforms.exports.target import REMOVED_KEYS, TABLE, VECTORS
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import remove_file, remove_matches, remove_tree
from image_features.transforms.stores.listing import list_files, list_tree

_LOG = logging.getLogger(__name__)
_KINDS = ("features", "images", "errors", INDEX_KIND, REMOVED, TOMBSTONES)


class RemoveStaging(beam.PTransform):
    """Maps the record of a committed run to itself, when what attempts have left is gone.

    Object stores delete object by object, of which a billion rows leave four million. So many are
    removed by all workers, before the rest is by one.

    Args:
      layout: The paths of the run.
      namings: The names of the shards whose pieces may be many.
    """

    def __init__(self, layout: RunLayout, *namings: ShardNaming) -> None:
        super().__init__()
        self._layout = layout
        self._namings = namings

    def expand(self, records: Any) -> Any:
        removed = (
            records
            | "NameParts" >> beam.FlatMap(parts_of, self._namings)
            | "Spread" >> beam.Reshuffle()
            | "RemoveParts" >> beam.Map(_remove_part)
            | "CountParts" >> beam.combiners.Count.Globally()
        )
        return records | "RemoveRest" >> beam.Map(_remove_rest, self._layout, AsSingleton(removed))


def parts_of(record: Mapping[str, Any], namings: Sequence[ShardNaming]) -> Iterator[str]:
    """Yields patterns of the pieces that are removed apart; none for a run with few files."""
    files = count_apart(record)
    for naming in namings if files else ():
        if "://" in naming.pieces:
            # The name of a piece begins with the number of its shard, in five digits or more.
            for beginning in range(min(1000, files // 100 + 1)):
                yield f"{naming.pieces}/{beginning:03d}*"


def _remove_part(pattern: str) -> None:
    try:
        remove_matches(pattern)
    except Exception as error:  # What is left is removed with the rest.
        _LOG.warning("Could not remove %s: %s", pattern, error)


def _remove_rest(record: dict[str, Any], layout: RunLayout, _: int) -> dict[str, Any]:
    return remove_leftovers(record, layout)


def remove_leftovers(record: dict[str, Any], layout: RunLayout) -> dict[str, Any]:
    """Removes pieces, and shards of attempts that divided the rows among another number of them.

    Args:
      record: The content of run.json, which is handed on.
      layout: The paths of the run.
    """
    try:
        commit = Commit.of(layout.directory, record)
        _remove_unlisted(layout, _KINDS, set(commit.files.column("name")))
        for file in list_files(layout.directory, prefix_of(layout)):
            name = file.path.rpartition("/")[2]
            if is_list_of_entries(name) and name != list_of_entries(record):
                remove_file(file.path)
        remove_tree(layout.staging)
    except Exception as error:  # The run is committed, and tidiness must not undo that.
        _LOG.warning("Could not tidy up %s: %s", layout.directory, error)
    return record


def remove_strays(layout: RunLayout, files: Sequence[ShardFile]) -> None:
    """Removes files of earlier attempts at an export, before it is committed.

    Who reads exported files does not ask the commit file which of them count.

    Args:
      layout: The paths of the export.
      files: The files that it consists of.

    Raises:
      OSError: a file cannot be removed.
    """
    kinds = {VECTORS, REMOVED_KEYS, *(file.kind for file in files)}
    listed = {file.name for file in files}
    _remove_unlisted(layout, sorted(kinds), listed)
    if not any(name.startswith(TABLE) for name in listed) and any(list_tree(layout.path(TABLE))):
        remove_tree(layout.path(TABLE))
    for folder in FOLDERS:
        for file in list_files(layout.path(folder), f"{folder}_"):
            name = file.path.rpartition("/")[2]
            if f"{folder}/{name}" not in listed:
                remove_file(file.path)


def _remove_unlisted(layout: RunLayout, kinds: Iterable[str], listed: set[str]) -> None:
    for kind in kinds:
        for file in list_files(layout.directory, f"{kind}-"):
            name = file.path.rpartition("/")[2]
            if "-of-" in name and name not in listed:
                remove_file(file.path)
