"""The readers of committed runs, for tf.data and NumPy; they see the files that run.json lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from image_features.models.quiet import import_tensorflow
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.lost_files import check_whole
from image_features.pipeline.dataset.series import merged_columns, open_series
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.vectors import VectorField

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class FeatureArrays:
    """The rows of a run or dataset in memory.

    Attributes:
      keys: The stable ids of the images, str [rows].
      uris: The locations of the images, str [rows].
      features: The vectors, float32 [rows, num_features].
      columns: The passed-through columns by name, [rows]; text and bytes are str and bytes objects,
        and a row with several values holds a list.
      hidden: The directories of the runs whose rows are not here, since they differ from the latest
        run in their model, their preprocessing or the types of their columns.
    """

    keys: npt.NDArray[np.str_]
    uris: npt.NDArray[np.object_]
    features: npt.NDArray[np.float32]
    columns: Mapping[str, npt.NDArray[Any]]
    hidden: tuple[str, ...] = ()


def load(path: str, *, batch_size: int | None = None) -> tf.data.Dataset:
    """Opens a committed run, or what is current in a dataset of them, as a tf.data.Dataset.

    In a dataset, those runs are read that have the latest one's model, preprocessing and types of
    columns; a warning tells of others. Each image comes once, in its latest version, unless a
    tombstone hides it. Rows come in no particular order.

    Args:
      path: A run's directory, or a dataset's.
      batch_size: The number of rows that are parsed and come together; None yields single rows.

    Returns:
      Dictionaries: `image/features` float32 [num_features] (of several models each
      `image/features/NAME`), `image/width` and `image/height` int64, the other `image/` fields
      strings, and the manifest's columns; those that are lists or may be absent are ragged.

    Raises:
      RunNotFoundError: there is no committed run.
      ValueError: a run has lost a shard, or a part of one.
      tf.errors.DataLossError: a record is damaged, while rows are read; `inspect` tells its shard.
    """
    import_tensorflow()
    import tensorflow as tf

    latest = LatestRows(open_series(path).runs)
    check_whole(latest.runs, ["features"])  # TensorFlow would not name the shard.
    columns = merged_columns(latest.runs)
    spec = _parse_spec(tf, latest.runs[0].vectors, columns)
    records = None
    for compression in ("", "GZIP"):
        for part in _records(tf, latest, compression):
            records = part if records is None else records.concatenate(part)
    if records is None:
        records = tf.data.TFRecordDataset([])
    # Parsing whole batches is several times cheaper than row by row.
    parsed = records.batch(batch_size or 256).map(
        _as_written(tf, lambda rows: _cast(tf, tf.io.parse_example(rows, spec), columns)),
        tf.data.AUTOTUNE,
    )
    return parsed if batch_size else parsed.unbatch()


def load_numpy(path: str, *, features: str | None = None) -> FeatureArrays:
    """Reads the rows that `load` would into arrays; they must fit in memory.

    Args:
      path: A run's directory, or a dataset's.
      features: The name of the model whose vectors are read; None is the only one.

    Raises:
      RunNotFoundError: there is no committed run.
      UsageError: there are no vectors of that model, or of several and none is named.
      DamagedRunError: a shard or an index is not as it was written.
    """
    series = open_series(path, features)
    latest = LatestRows(series.runs)
    columns = merged_columns(latest.runs)
    vectors = np.empty((latest.rows(), latest.runs[0].num_features), np.float32)
    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    keys: list[str] = []
    uris: list[str] = []
    for block in latest.seen():
        vectors[len(keys) : len(keys) + len(block.keys)] = block.features
        keys += [record.text("image/key") for record in block.records]
        uris += [record.text("image/uri") for record in block.records]
        for column in columns:
            values[column.name] += [record.column_value(column) for record in block.records]
    return FeatureArrays(
        np.array(keys, np.str_),
        _objects(uris),
        vectors,
        {column.name: _array(values[column.name], column) for column in columns},
        tuple(run.directory for run in series.hidden),
    )


def _records(tf: Any, latest: LatestRows, compression: str) -> Iterator[Any]:
    """Yields datasets of records: of the shards that are seen in full, and of each other one."""
    whole: list[str] = []
    partly: list[tuple[str, bytes]] = []
    for run in latest.runs:
        if run.compressed != bool(compression):
            continue
        for shard in run.files():
            # A shard without rows is an empty file, which not every reader takes for valid gzip.
            if shard.rows:
                mask = latest.mask(run, shard)
                if mask is None:
                    whole.append(run.path(shard))
                elif mask.any():
                    partly.append((run.path(shard), mask.astype(np.uint8).tobytes()))
    if whole:
        yield tf.data.TFRecordDataset(whole, compression_type=compression)
    if partly:
        shards, masks = zip(*partly, strict=True)

        def seen(shard: Any, mask: Any) -> Any:
            flags = tf.data.Dataset.from_tensor_slices(tf.io.decode_raw(mask, tf.uint8))
            rows = tf.data.TFRecordDataset(shard, compression_type=compression)
            return (
                tf.data.Dataset.zip(rows, flags)
                .filter(lambda _, flag: flag > 0)
                .map(lambda record, _: record)
            )

        pairs = tf.data.Dataset.from_tensor_slices((list(shards), list(masks)))
        yield pairs.flat_map(_as_written(tf, seen))


def _as_written(tf: Any, function: Callable[..., Any]) -> Any:
    """Keeps TensorFlow from rewriting a function.

    It would read this file again for that, and take another function for this one when an
    update has moved the lines.
    """
    return tf.autograph.experimental.do_not_convert(function)


def _parse_spec(
    tf: Any, vectors: Sequence[VectorField], columns: Sequence[Column]
) -> dict[str, Any]:
    dtypes = {Kind.INT64: tf.int64, Kind.BOOL: tf.int64, Kind.FLOAT32: tf.float32}
    spec: dict[str, Any] = {
        f"image/{name}": tf.io.FixedLenFeature((), tf.string)
        for name in ("uri", "key", "sha256", "format")
    }
    spec |= {f"image/{n}": tf.io.FixedLenFeature((), tf.int64) for n in ("width", "height")}
    for field in vectors:
        spec[field.key] = tf.io.FixedLenFeature((field.width,), tf.float32)
    for column in columns:
        dtype = dtypes.get(column.kind, tf.string)
        if column.is_sequence:
            spec[column.name] = tf.io.RaggedFeature(dtype)
        else:
            spec[column.name] = tf.io.FixedLenFeature((), dtype)
    return spec


def _cast(tf: Any, row: dict[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    for column in columns:
        if column.kind is Kind.BOOL:
            row[column.name] = tf.cast(row[column.name], tf.bool)
    return row


def _array(values: list[Any], column: Column) -> npt.NDArray[Any]:
    dtypes = {Kind.INT64: np.int64, Kind.FLOAT32: np.float32, Kind.BOOL: np.bool_}
    if column.is_sequence or column.kind not in dtypes:
        return _objects(values)
    return np.array(values, dtypes[column.kind])


def _objects(values: list[Any]) -> npt.NDArray[np.object_]:
    """Makes an array of Python's objects.

    NumPy's own types of text and bytes drop zeros at an end, and take as much memory for each
    value as for the longest.
    """
    array = np.empty(len(values), object)
    array[:] = values
    return array
