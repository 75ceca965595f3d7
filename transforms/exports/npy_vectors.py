"""Exported files that are arrays of numpy, and the Parquet files of what else is known of rows.

img_emb/img_emb_0.npy         the vectors, [rows, width]
metadata/metadata_0.parquet   the other fields of the same rows, in the same order

So clip-retrieval lays them out, and so it and autofaiss read them. Numbers have as many digits as
that of all files, since files are taken in the order of their names. clip-retrieval shows what is
at `image_path` or `url`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from image_features.transforms.exports.batches import in_batches
from image_features.transforms.exports.fields import RowFields
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.shard_content import HashingSink, Rows
from image_features.transforms.stores.uris import is_http

FOLDERS = ("img_emb", "metadata")


@dataclasses.dataclass(frozen=True)
class NumberedNaming(ShardNaming):
    """The names of files that readers pair by the order of their names, in a folder of their own.

    Attributes:
      folder: The folder, and the beginning of the names in it.
    """

    folder: str = ""

    @property
    def has_empty(self) -> bool:
        """No file is written without rows: readers drop empty arrays, but not their metadata."""
        return False

    def name(self, index: int, count: int) -> str:
        """Returns the path of a file, below the directory of the export."""
        return f"{self.folder}/{self.folder}_{index:0{len(str(count))}d}{self.suffix}"


@dataclasses.dataclass(frozen=True)
class NpyVectors:
    """The vectors of rows as an array of numpy.

    Attributes:
      fields: The fields of a row.
    """

    fields: RowFields

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        none, _ = self.fields.stored([])
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(none.dtype),
                "fortran_order": False,
                "shape": (rows, self.fields.vector.width),
            },
        )
        sink.write(header.getvalue())

        def write(payloads: list[bytes]) -> None:
            vectors, _ = self.fields.stored([RECORDS.parse(payload) for payload in payloads])
            sink.write(vectors.tobytes())

        with in_batches(write) as batches:
            yield batches


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The fields of rows but for their vectors, and those by which clip-retrieval finds images.

    Attributes:
      fields: The fields of a row.
    """

    fields: RowFields

    def schema(self) -> Any:
        """Returns the Arrow schema of `table`."""
        import pyarrow as pa

        schema = self.fields.schema(vectors=False)
        for name in self._added(schema):
            schema = schema.append(pa.field(name, pa.string()))
        return schema

    def table(self, payloads: Sequence[bytes]) -> Any:
        """Returns rows of feature shards as a pyarrow.Table."""
        import pyarrow as pa

        table = self.fields.table(payloads, vectors=False)
        for name in self._added(table.schema):
            uris = table["uri"].to_pylist()
            values = uris if name == "image_path" else [u if is_http(u) else None for u in uris]
            table = table.append_column(pa.field(name, pa.string()), pa.array(values, pa.string()))
        return table

    def _added(self, schema: Any) -> list[str]:
        """Returns the names that are added: a manifest's own columns stay what they are."""
        if "uri" not in self.fields.own:
            return []
        return [name for name in ("image_path", "url") if name not in schema.names]
