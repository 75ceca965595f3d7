"""Tables as manifests in Parquet."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import reject

from image_features.transforms.manifests.parquet import parquet_columns, read_parquet
from image_features.transforms.stores.http import HttpPolicy


def read(table):
    """The rows of a table as a manifest in Parquet, each with its columns as a record has them."""
    file = io.BytesIO()
    try:
        pq.write_table(table, file)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        reject()  # Arrow has more types and values than it can write.
    rows = list(read_parquet(file, "m.parquet", None))
    assert len(rows) == len(table)
    return rows


def columns_of(path, table):
    pq.write_table(table, path)
    return parquet_columns(str(path), http=HttpPolicy())[0]


def named(count):
    return [f"{number}.jpg" for number in range(count)]
