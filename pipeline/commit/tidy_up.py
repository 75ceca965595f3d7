"""The removal of what earlier attempts at a run have left behind."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from image_features.pipeline.dataset.file_list import (
    PREFIX,
    Commit,
    is_list_of_entries,
    list_of_entries,
)
from image_features.pipeline.dataset.layout import REMOVED, TOMBSTONES, RunLayout
from image_features.transforms.exports.npy_vectors import FOLDERS
from image_features.transforms.exports.target import REMOVED_KEYS, TABLE, VECTORS
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import remove_file, remove_tree
from image_features.transforms.stores.listing import list_files, list_tree

_LOG = logging.getLogger(__name__)
_KINDS = ("features", "images", "errors", INDEX_KIND, REMOVED, TOMBSTONES)


def remove_leftovers(record: dict[str, Any], layout: RunLayout) -> dict[str, Any]:
    """Removes pieces, and shards of attempts that divided the rows among another number of them.

    Args:
      record: The content of run.json, which is handed on.
      layout: The paths of the run.
    """
    try:
        commit = Commit.of(layout.directory, record)
        _remove_unlisted(layout, _KINDS, set(commit.files.column("name")))
        for file in list_files(layout.directory, PREFIX):
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
    if not any(name.startswith(TABLE) for name in listed) and list_tree(layout.path(TABLE)):
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
