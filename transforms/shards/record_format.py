"""What a record is: how a row's fields become bytes in a shard file, and come back from there.

This module alone knows that shards of features are TFRecords of tf.train.Example. A second output
format is another `RecordFormat` in the place of `RECORDS`. It must be one in which a shard file is
nothing but its rows' payloads, one after the other, so that pieces are merged and rows copied from
run to run without being understood. It has

- a `name` and a `suffix`, which end up in dataset_info.json and in the names of shards,
- `encode`, from the fields of a row to its payload: the same fields always give the same bytes,
- `payloads`, which divides a shard file into its payloads again and checks each of them,
- `stream`, which does so with blocks of what was checked before,
- `parse`, from a payload to a `Record`, which needs three methods of its own.

What it can then not share is `load` in pipeline/dataset/reading.py, where TensorFlow itself parses
TFRecords, and the descriptions in pipeline/commit/schema.py, by which tensorflow_datasets does.
"""

from __future__ import annotations

import abc
import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from image_features.transforms.archives import framing
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.example import parse_example, serialize_example
from image_features.transforms.shards.row_stream import RowStream
from image_features.transforms.shards.shard_file import damaged
from image_features.transforms.stores.files import open_plain
from image_features.transforms.values import ColumnValue, FieldValue, Scalar

KEY, URI, SHA256, FORMAT = "image/key", "image/uri", "image/sha256", "image/format"
WIDTH, HEIGHT, FEATURES = "image/width", "image/height", "image/features"

Floats = npt.NDArray[np.float32]


class Record(abc.ABC):
    """The fields of one row, by their names; a field that is absent has no items."""

    __slots__ = ()

    @abc.abstractmethod
    def strings(self, name: str) -> Sequence[bytes]:
        """Returns the items of a field of bytes."""

    @abc.abstractmethod
    def integers(self, name: str) -> Sequence[int]:
        """Returns the items of a field of integers."""

    @abc.abstractmethod
    def floats(self, name: str) -> Floats:
        """Returns the items of a field of floats, float32 [items]."""

    def text(self, name: str) -> str:
        """Returns the text of a field that holds one; empty if it is absent."""
        items = self.strings(name)
        return items[0].decode("utf-8", "replace") if items else ""

    def number(self, name: str) -> int:
        """Returns the integer of a field that holds one; 0 if it is absent."""
        items = self.integers(name)
        return int(items[0]) if items else 0

    def column_items(self, column: Column) -> list[Scalar]:
        """Returns the items of a passed-through column, as values of its kind."""
        if column.kind is Kind.FLOAT32:
            return cast(list[Scalar], self.floats(column.name).tolist())
        if column.kind is Kind.INT64:
            return list(self.integers(column.name))
        if column.kind is Kind.BOOL:
            return [bool(item) for item in self.integers(column.name)]
        if column.kind is Kind.BYTES:
            return list(self.strings(column.name))
        return [item.decode("utf-8", "replace") for item in self.strings(column.name)]

    def column_value(self, column: Column) -> ColumnValue:
        """Returns the value of a passed-through column, as `column_field` took it."""
        items = self.column_items(column)
        if column.repeated:
            return items
        return items[0] if items else None


class RecordFormat(Protocol):
    """How rows are kept in shard files."""

    @property
    def name(self) -> str:
        """The name by which tensorflow_datasets knows the format."""

    @property
    def suffix(self) -> str:
        """The last part of a shard's name, with its dot and without that of a compression."""

    def encode(self, fields: Mapping[str, FieldValue]) -> bytes:
        """Returns the payload of a row; a field without items is left out."""

    def payloads(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yields the payloads of a shard file from where it is.

        Raises:
          ValueError: the file is not one of whole payloads.
        """

    def stream(self, add: Callable[[bytes], object]) -> RowStream:
        """Returns what takes blocks of payloads, and hands each payload on when it is whole."""

    def parse(self, payload: bytes) -> Record:
        """Returns the fields of a payload, in a process without TensorFlow."""


class TFRecords:
    """TFRecord files of tf.train.Example, as TensorFlow reads them."""

    name = "tfrecord"
    suffix = ".tfrecord"

    def encode(self, fields: Mapping[str, FieldValue]) -> bytes:
        return framing.frame(serialize_example(fields))

    def payloads(self, file: IO[bytes]) -> Iterator[bytes]:
        return framing.read_frames(file)

    def stream(self, add: Callable[[bytes], object]) -> RowStream:
        return RowStream(framing.HEAD, framing.frame_size, add)

    def parse(self, payload: bytes) -> Record:
        return _Example(parse_example(framing.data_of(payload)))


class _Example(Record):
    """The fields of a tf.train.Example, a map from a name to a tf.train.Feature."""

    __slots__ = ("_features",)

    def __init__(self, features: Any) -> None:
        self._features = features

    # `get`, since reading an entry of a protobuf map that is not there would make it.

    def strings(self, name: str) -> Sequence[bytes]:
        feature = self._features.get(name)
        return () if feature is None else feature.bytes_list.value

    def integers(self, name: str) -> Sequence[int]:
        feature = self._features.get(name)
        return () if feature is None else feature.int64_list.value

    def floats(self, name: str) -> Floats:
        feature = self._features.get(name)
        return np.frombuffer(b"" if feature is None else feature.float_list.value, "<f4")


RECORDS: RecordFormat = TFRecords()


@contextlib.contextmanager
def open_shard(path: str, *, compressed: bool) -> Iterator[IO[bytes]]:
    """Opens a shard file for `payloads`, decompressed.

    Raises:
      DamagedRunError: what the body reads is not as it was written.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(contextlib.closing(open_plain(path)))
        if compressed:
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
        try:
            yield file
        except (framing.CorruptRecordError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise damaged(path, error) from error


def column_field(value: ColumnValue, column: Column) -> FieldValue:
    """Returns a column's value as a record's field; None has no items."""
    items: list[Any] = [] if value is None else value if isinstance(value, list) else [value]
    if column.kind is Kind.FLOAT32:
        return np.asarray(items, np.float32)
    if column.kind in (Kind.INT64, Kind.BOOL):
        return [int(item) for item in items]
    return [item if isinstance(item, bytes) else item.encode() for item in items]
