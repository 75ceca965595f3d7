"""The check of what a contender wrote: that every vector is there, and is the model's.

python -m benchmarks.contenders.outputs --output=DIR

It is apart from the contenders, so that none spends time on it.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.contenders.job import Summary

_BATCH_SIZE = 1000
_FEATURES = "image/features"  # Every contender's output has this name.


def main() -> None:
    """Prints the JSON line of a directory of TFRecord or Parquet files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    directory: pathlib.Path = parser.parse_args().output
    # Our features begin with that word too, and errors and indexes lie beside them.
    records = sorted(directory.rglob("features*.tfrecord"))
    summary = Summary()
    for features in (
        _records(records) if records else _parquet(sorted(directory.rglob("*.parquet")))
    ):
        summary.add(features)
    summary.report()


def _parquet(files: list[pathlib.Path]) -> Iterator[npt.NDArray[np.float32]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_SIZE, columns=[_FEATURES]):
            column = batch.column(0)
            if isinstance(column, pa.ExtensionArray):  # A column of tensors is stored as lists.
                column = column.storage
            yield column.flatten().to_numpy().reshape(len(column), -1)


def _records(files: list[pathlib.Path]) -> Iterator[npt.NDArray[np.float32]]:
    import tensorflow as tf

    kind = {_FEATURES: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)}
    dataset = tf.data.TFRecordDataset([str(file) for file in files]).batch(_BATCH_SIZE)
    for rows in dataset:
        yield tf.io.parse_example(rows, kind)[_FEATURES].numpy()


if __name__ == "__main__":
    main()
