"""Readers of committed runs: tf.data and NumPy. They see the files that run.json lists."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from apache_beam.io.filesystems import FileSystems

from pipeline.layout import find_run
from transforms.columns import Column, Kind
from transforms.storage import open_plain
from transforms.tfrecord import read_records

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class FeatureArrays:
    """A run in memory.

    Attributes:
      keys: str [rows], the images' stable ids.
      uris: str [rows].
      features: float32 [rows, num_features].
      columns: The passed-through columns, [rows]; lists where a row holds several.
    """

    keys: npt.NDArray[np.str_]
    uris: npt.NDArray[np.str_]
    features: npt.NDArray[np.float32]
    columns: Mapping[str, npt.NDArray[Any]]


def load(path: str, *, batch_size: int | None = None) -> tf.data.Dataset:
    """Opens a committed run as a tf.data.Dataset.

    Args:
      path: A run's directory, or a dataset's, of which the latest run is read.
      batch_size: Parse and batch so many rows at once; None yields single rows.

    Returns:
      Dictionaries: `image/features` float32 [num_features], `image/width` and
      `image/height` int64, the other `image/` fields strings, and the manifest's
      columns; those that are lists or may be absent are ragged.

    Raises:
      pipeline.layout.RunNotFoundError: there is no committed run.
    """
    import tensorflow as tf

    directory, run = find_run(path)
    files = [FileSystems.join(directory, entry["name"]) for entry in _feature_files(run)]
    compression = "GZIP" if run["compression"] == "gzip" else ""
    spec = _parse_spec(tf, run)
    dataset = tf.data.TFRecordDataset(files, compression_type=compression)
    # Parsing whole batches is several times cheaper than row by row.
    parsed = dataset.batch(batch_size or 256).map(
        lambda rows: _cast(tf, tf.io.parse_example(rows, spec), run), tf.data.AUTOTUNE
    )
    return parsed if batch_size else parsed.unbatch()


def load_numpy(path: str) -> FeatureArrays:
    """Reads a committed run into arrays; for what fits in memory.

    Raises:
      pipeline.layout.RunNotFoundError: there is no committed run.
    """
    _, run = find_run(path)
    rows = run["counts"]["rows_out"]
    features = np.empty((rows, run["model"]["num_features"]), np.float32)
    columns = _columns(run)
    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    keys, uris = [], []
    for i, example in enumerate(read_examples(path)):
        feature = example.features.feature
        features[i] = feature["image/features"].float_list.value
        keys.append(feature["image/key"].bytes_list.value[0].decode())
        uris.append(feature["image/uri"].bytes_list.value[0].decode())
        for column in columns:
            values[column.name].append(_value(feature, column))
    return FeatureArrays(
        np.array(keys, np.str_),
        np.array(uris, np.str_),
        features,
        {column.name: _array(values[column.name], column) for column in columns},
    )


def read_examples(path: str) -> Iterator[Any]:
    """Yields a run's tf.train.Example messages, shard by shard."""
    from tensorflow.core.example import example_pb2

    directory, run = find_run(path)
    for entry in _feature_files(run):
        with contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(
                contextlib.closing(open_plain(FileSystems.join(directory, entry["name"])))
            )
            if run["compression"] == "gzip":
                file = stack.enter_context(cast(Any, gzip.GzipFile(fileobj=file)))
            for record in read_records(file):
                yield example_pb2.Example.FromString(record)


def _feature_files(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    # An empty file is not valid gzip to every reader; a shard without rows says nothing.
    return [f for f in run["files"] if f["kind"] == "features" and f["rows"]]


def _columns(run: Mapping[str, Any]) -> list[Column]:
    return [Column(**{**entry, "kind": Kind(entry["kind"])}) for entry in run["columns"]]


def _parse_spec(tf: Any, run: Mapping[str, Any]) -> dict[str, Any]:
    dtypes = {Kind.INT64: tf.int64, Kind.BOOL: tf.int64, Kind.FLOAT32: tf.float32}
    spec: dict[str, Any] = {
        f"image/{name}": tf.io.FixedLenFeature((), tf.string)
        for name in ("uri", "key", "sha256", "format")
    }
    spec |= {f"image/{n}": tf.io.FixedLenFeature((), tf.int64) for n in ("width", "height")}
    length = run["model"]["num_features"]
    spec["image/features"] = tf.io.FixedLenFeature((length,), tf.float32)
    for column in _columns(run):
        dtype = dtypes.get(column.kind, tf.string)
        if column.is_sequence:
            spec[column.name] = tf.io.RaggedFeature(dtype)
        else:
            spec[column.name] = tf.io.FixedLenFeature((), dtype)
    return spec


def _cast(tf: Any, row: dict[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    for column in _columns(run):
        if column.kind is Kind.BOOL:
            row[column.name] = tf.cast(row[column.name], tf.bool)
    return row


def _value(feature: Any, column: Column) -> Any:
    if column.kind is Kind.FLOAT32:
        items: list[Any] = list(feature[column.name].float_list.value)
    elif column.kind in (Kind.INT64, Kind.BOOL):
        items = list(feature[column.name].int64_list.value)
        items = [bool(item) for item in items] if column.kind is Kind.BOOL else items
    else:
        items = list(feature[column.name].bytes_list.value)
        items = [item.decode() for item in items] if column.kind is Kind.STRING else items
    if column.repeated:
        return items
    return items[0] if items else None


def _array(values: list[Any], column: Column) -> npt.NDArray[Any]:
    if column.is_sequence:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    dtypes = {Kind.INT64: np.int64, Kind.FLOAT32: np.float32, Kind.BOOL: np.bool_}
    return np.array(values, dtypes.get(column.kind))
