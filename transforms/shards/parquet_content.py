"""Shards that are Parquet files with a column of images, as Hugging Face's `datasets` reads them.

image        struct of bytes, the image as it was fetched, and path, KEY.jpg
source_uri   string
...          the manifest's other columns with their types
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from image_features.transforms.archives.parquet_column import OWN_MARK
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.samples import Sample, sample_stream
from image_features.transforms.shards.shard_content import HashingSink, Rows
from image_features.transforms.shards.tar_content import SOURCE_URI

IMAGE = "image"
# A reader holds a group in memory, and so does the writer.
_GROUP_BYTES = 16 * 2**20
_GROUP_ROWS = 10_000
_TYPES = {
    Kind.INT64: "int64",
    Kind.FLOAT32: "float32",
    Kind.BOOL: "bool",
    Kind.STRING: "string",
    Kind.BYTES: "binary",
}


@dataclasses.dataclass(frozen=True)
class ParquetContent:
    """Samples as rows of a Parquet file.

    Attributes:
      columns: The manifest's other columns.
    """

    columns: tuple[Column, ...] = ()

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.schema()
        plain = [f"{IMAGE}.bytes"]  # Images are compressed already, and their bounds tell nothing.
        others = [f"{IMAGE}.path", SOURCE_URI]
        others += [f"{c.name}.list.element" if c.repeated else c.name for c in self.columns]
        with pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            schema,
            compression=dict.fromkeys(plain, "none") | dict.fromkeys(others, "zstd"),
            use_dictionary=others,
            write_statistics=others,
        ) as writer:
            group = _Group(writer, schema)
            with sample_stream(group.add).whole() as stream:
                yield stream
            group.flush()

    def schema(self) -> Any:
        """Returns the Arrow schema, with what `datasets` needs to show images as such."""
        import pyarrow as pa

        fields = [
            pa.field(IMAGE, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            pa.field(SOURCE_URI, pa.string()),
        ]
        features: dict[str, Any] = {IMAGE: {"_type": "Image"}, SOURCE_URI: _value("string")}
        for column in self.columns:
            name = _TYPES[column.kind]
            type_, feature = pa.type_for_alias(name), _value(name)
            if column.repeated:
                type_, feature = pa.list_(type_), {"feature": feature, "_type": "Sequence"}
            fields.append(pa.field(column.name, type_, nullable=column.is_sequence))
            features[column.name] = feature
        told = {"huggingface": json.dumps({"info": {"features": features}}), OWN_MARK: "pack"}
        return pa.schema(fields, metadata=told)


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


class _Group:
    """Rows that are gathered for a row group."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def add(self, sample: Sample) -> None:
        image = {"bytes": sample.data, "path": sample.name}
        self._rows.append({IMAGE: image, SOURCE_URI: sample.uri, **dict(sample.columns)})
        self._size += len(sample.data)
        if self._size >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            import pyarrow as pa

            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._size = [], 0
