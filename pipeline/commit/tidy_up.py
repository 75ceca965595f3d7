"""The removal of what earlier attempts at a run have left behind."""

from __future__ import annotations

import logging
from typing import Any

from image_features.pipeline.dataset.layout import REMOVED, TOMBSTONES, ExportLayout, RunLayout
from image_features.transforms.exports.npy_vectors import FOLDERS
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.stores.files import remove_file, remove_tree
from image_features.transforms.stores.listing import list_files

_LOG = logging.getLogger(__name__)
_KINDS = ("features", "images", VECTORS, REMOVED_KEYS, "errors", INDEX_KIND, REMOVED, TOMBSTONES)


def remove_leftovers(record: dict[str, Any], layout: RunLayout) -> dict[str, Any]:
    """Removes pieces, and shards of attempts that divided the rows among another number of them.

    Args:
      record: The content of run.json, which is handed on.
      layout: The paths of the run.
    """
    try:
        listed = {entry["name"] for entry in record["files"]}
        for kind in _KINDS:
            for file in list_files(layout.directory, f"{kind}-"):
                name = file.path.rpartition("/")[2]
                if "-of-" in name and name not in listed:
                    remove_file(file.path)
        for folder in FOLDERS if isinstance(layout, ExportLayout) else ():
            for file in list_files(layout.path(folder), f"{folder}_"):
                name = file.path.rpartition("/")[2]
                if f"{folder}/{name}" not in listed:
                    remove_file(file.path)
        remove_tree(layout.staging)
    except Exception as error:  # The run is committed, and tidiness must not undo that.
        _LOG.warning("Could not tidy up %s: %s", layout.directory, error)
    return record
