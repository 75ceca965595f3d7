"""The fragments of a Lance table: those that new data files become, and the keys of their rows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.exports.fields import KEY_NAME, RowFields
from image_features.transforms.exports.lance_vectors import FILE_VERSION, lance_schema
from image_features.transforms.shards.shard_file import ShardFile

_ROWS_TOGETHER = 2**18
_ROW_IN_FRAGMENT = 0xFFFFFFFF

Keys = npt.NDArray[np.bytes_]


def fragments_of(files: Sequence[ShardFile], directory: str, fields: RowFields) -> list[Any]:
    """Returns what a version of a table tells of data files, as lance's FragmentMetadata.

    Args:
      files: The data files; those without rows become none.
      directory: Where they are.
      fields: The fields of their rows.
    """
    from lance.fragment import DataFile, FragmentMetadata

    full = [file for file in files if file.rows]
    if not full:
        return []
    like = _as_lance_writes(full[0], directory, fields)

    def data_file(file: ShardFile) -> DataFile:
        version = like.file_major_version, like.file_minor_version
        return DataFile(file.name, like.fields, like.column_indices, *version, file.bytes)

    return [FragmentMetadata(0, [data_file(file)], file.rows) for file in full]


def keys_in(file: ShardFile, directory: str) -> Keys:
    """Returns the keys of a data file's rows, 32 bytes each."""
    batches = _read(file, directory, [KEY_NAME]).read_all(batch_size=_ROWS_TOGETHER).to_batches()
    return np.concatenate([np.empty(0, "S32"), *map(_keys_of, batches)])


def rows_with(fragment: Any, keys: Keys) -> list[int]:
    """Returns which rows of a lance.LanceFragment have one of the keys, which are sorted."""
    hits: list[int] = []
    if not len(keys):
        return hits
    for batch in fragment.to_batches(
        columns=[KEY_NAME], with_row_address=True, batch_size=_ROWS_TOGETHER
    ):
        found = _keys_of(batch)
        places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        addresses = batch["_rowaddr"].to_numpy()[keys[places] == found]
        hits += (addresses & np.uint64(_ROW_IN_FRAGMENT)).tolist()
    return hits


def _as_lance_writes(file: ShardFile, directory: str, fields: RowFields) -> Any:
    """Returns what Lance tells of a file of its own of the same schema: which columns it has.

    It writes none without rows, so that one of ours gives it a row.
    """
    from lance.fragment import LanceFragment

    row = _read(file, directory).read_range(0, 1).to_table().cast(lance_schema(fields))
    with tempfile.TemporaryDirectory(prefix="image-features-") as place:
        return LanceFragment.create(
            place, row, mode="create", data_storage_version=FILE_VERSION
        ).files[0]


def _read(file: ShardFile, directory: str, columns: list[str] | None = None) -> Any:
    from lance.file import LanceFileReader

    return LanceFileReader(f"{directory}/{file.name}", columns=columns)


def _keys_of(batch: Any) -> Keys:
    return np.array(batch[KEY_NAME].to_numpy(zero_copy_only=False), dtype="S32")
