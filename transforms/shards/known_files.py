"""The files in which committed runs say something of keys, as many as a billion rows have.

They are kept by columns. A graph that is submitted may have some ten megabytes, which the names and
digests of 100,000 files alone would fill, so that many of them go to workers by a file in staging.
"""

from __future__ import annotations

import functools
import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from image_features.transforms.shards.index import read_verified
from image_features.transforms.shards.known_index import KnownFile
from image_features.transforms.stores.files import create_whole

# A graph has so many files in itself, in some 100 kB.
MOST_IN_GRAPH = 1000
_ROWS_READ_TOGETHER = 1_000_000
_COLUMNS = {
    "path": str, "kind": str, "age": int, "rows": int, "sha256": str, "shard": str,
    "compressed": bool,
}  # fmt: skip


class KnownFiles(Sequence[KnownFile]):
    """Numbered files, of which an object is made only when it is asked for.

    Args:
      load: A function that returns the table of the files, which is called when they are asked
        for; it can be pickled, and is all of the files that is.
    """

    def __init__(self, load: functools.partial[Any]) -> None:
        self._load = load

    @classmethod
    def of(cls, files: Iterable[KnownFile]) -> KnownFiles:
        """Takes files one by one."""
        if isinstance(files, KnownFiles):
            return files
        rows = [vars(file) for file in files]
        return cls.of_columns({name: [row[name] for row in rows] for name in _COLUMNS})

    @classmethod
    def of_table(cls, table: Any) -> KnownFiles:
        """Takes what `table` has returned, or a part of it."""
        return cls(functools.partial(_unpacked, _packed(table)))

    @classmethod
    def of_columns(cls, columns: dict[str, Any]) -> KnownFiles:
        """Takes files by the fields of `KnownFile`, each a column; all but the path have a default.

        A value in the place of a column is that of all files.
        """
        import pyarrow as pa

        count = len(columns["path"])
        defaults = {"sha256": "", "shard": "", "compressed": False}
        made = []
        for field in _schema():
            values = columns.get(field.name, defaults.get(field.name))
            if isinstance(values, str | int):
                values = pa.repeat(pa.scalar(values, field.type), count)
            elif isinstance(values, pa.ChunkedArray):
                values = values.cast(field.type)
            made.append(values)
        return cls.of_table(pa.table(made, _schema()))

    @classmethod
    def joined(cls, parts: Iterable[KnownFiles]) -> KnownFiles:
        """Puts files after one another."""
        import pyarrow as pa

        return cls.of_table(
            pa.concat_tables([_schema().empty_table(), *(part.table for part in parts)])
        )

    def kept_in(self, staging: str) -> KnownFiles:
        """Returns the files as graphs take them: many are written to a file in staging.

        Raises:
          OSError: it cannot be written.
        """
        if len(self) <= MOST_IN_GRAPH:
            return self
        data = _packed(self.table)
        digest = hashlib.sha256(data).hexdigest()
        path = FileSystems.join(staging, f"known-{digest[:16]}.parquet")
        with create_whole(path, f"{path}.{uuid.uuid4().hex}", durable=False) as file:
            file.write(data)
        return KnownFiles(functools.partial(_read, path, digest))

    @functools.cached_property
    def table(self) -> Any:
        """The files as a pyarrow.Table, whose columns are the fields of `KnownFile`."""
        return self._load()

    @property
    def rows(self) -> int:
        """The rows of all files."""
        return int(self._counts().sum())

    def together(self) -> list[tuple[int, int]]:
        """Returns ranges of files, of so many rows that their partitions are worth sending."""
        ranges, start, rows = [], 0, 0
        for number, count in enumerate(self._counts().tolist()):
            rows += count
            if rows >= _ROWS_READ_TOGETHER:
                ranges.append((start, number + 1))
                start, rows = number + 1, 0
        return [*ranges, (start, len(self))] if start < len(self) else ranges

    def numbered(self, among: tuple[int, int]) -> list[tuple[int, KnownFile]]:
        """Returns the files of a range with their numbers."""
        return list(enumerate(self[slice(*among)], among[0]))

    def _counts(self) -> Any:
        return self.table["rows"].to_numpy() if len(self) else np.zeros(0, np.int64)

    def __reduce__(self) -> Any:
        return KnownFiles, (self._load,)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, at: int) -> KnownFile: ...
    @overload
    def __getitem__(self, at: slice) -> list[KnownFile]: ...
    def __getitem__(self, at: int | slice) -> KnownFile | list[KnownFile]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            files = self.table.slice(start, max(0, stop - start)).to_pylist()
            return [KnownFile(**file) for file in files[::step]]
        number = range(len(self))[at]
        return KnownFile(**self.table.slice(number, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[KnownFile]:
        return (KnownFile(**file) for file in self.table.to_pylist())


class NameFiles(beam.PTransform):
    """Maps a pipeline to lists of numbered files, some together, wherever there are workers.

    Args:
      files: The files.
    """

    def __init__(self, files: KnownFiles) -> None:
        super().__init__()
        self._files = files

    def expand(self, pipeline: Any) -> Any:
        return (
            pipeline
            | "Ranges" >> beam.Create(self._files.together(), reshuffle=True)
            | "Numbered" >> beam.Map(_numbered, self._files)
        )


def _numbered(among: tuple[int, int], files: KnownFiles) -> list[tuple[int, KnownFile]]:
    return files.numbered(among)


def _schema() -> Any:
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in _COLUMNS.items()])


def _packed(table: Any) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(
        table, out, compression="zstd", use_dictionary=["kind"], write_statistics=False,
        column_encoding={"path": "DELTA_BYTE_ARRAY", "shard": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    return out.getvalue()


def _unpacked(data: bytes) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data))


@functools.lru_cache(maxsize=4)  # All threads and steps of a worker share it.
def _read(path: str, sha256: str) -> Any:
    return _unpacked(read_verified(path, sha256))
