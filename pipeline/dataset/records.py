"""The rows of all committed runs of a dataset, without TensorFlow and in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.run import Run
from image_features.transforms.shards.tfrecord import read_records
from image_features.transforms.shards.write_shards import ShardFile
from image_features.transforms.stores.files import open_plain

Floats = npt.NDArray[np.float32]
OFFSET_BITS = 40
_BLOCK_ROWS = 2048
_FRAME_BYTES = 16  # Of a TFRecord, around its data.


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes:
      run: Where they are from.
      keys: bytes16 [rows].
      features: float32 [rows, num_features].
      examples: The records' maps from a name to a value, [rows]; see `text` and `number`.
      places: uint64 [rows]: the number of the file among all of the dataset's, shifted by
        OFFSET_BITS, and the offset in it; all that a search index keeps of a row.
    """

    run: Run
    keys: npt.NDArray[np.bytes_]
    features: Floats
    examples: Sequence[Any]
    places: npt.NDArray[np.uint64]

    def only(self, mask: npt.NDArray[np.bool_]) -> Block:
        """Some of its rows."""
        if mask.all():
            return self
        rows = np.flatnonzero(mask)
        examples = [self.examples[int(row)] for row in rows]
        return Block(self.run, self.keys[rows], self.features[rows], examples, self.places[rows])


def text(example: Any, name: str) -> str:
    """A string field of a record."""
    values = example[name].bytes_list.value
    return str(values[0].decode("utf-8", "replace")) if values else ""


def number(example: Any, name: str) -> int:
    """An integer field of a record."""
    values = example[name].int64_list.value
    return int(values[0]) if values else 0


@contextlib.contextmanager
def open_shard(run: Run, shard: ShardFile) -> Iterator[IO[bytes]]:
    """Opens a shard for reading, decompressed."""
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(contextlib.closing(open_plain(run.path(shard))))
        if run.compressed:
            file = stack.enter_context(cast(Any, gzip.GzipFile(fileobj=file)))
        yield file


def blocks(run: Run, file: Any, place: int = 0, rows: int = _BLOCK_ROWS) -> Iterator[Block]:
    """Yields the rows from where a shard's file is.

    Args:
      run: Whose shard it is.
      file: Of `open_shard`.
      place: Of the first of them.
      rows: In a block.

    Raises:
      ValueError: the shard is not as it was written.
    """
    width = run.num_features
    examples: list[Any] = []
    places: list[int] = []
    for record in read_records(file):
        examples.append(_example_class().FromString(record).features.feature)
        places.append(place)
        place += len(record) + _FRAME_BYTES
        if len(examples) == rows:
            yield _block(run, examples, places, width)
            examples, places = [], []
    if examples:
        yield _block(run, examples, places, width)


def _block(run: Run, examples: list[Any], places: list[int], width: int) -> Block:
    data = b"".join([example["image/features"].float_list.value for example in examples])
    if len(data) != 4 * width * len(examples):
        raise ValueError(f"A shard of {run.directory} holds vectors of another length.")
    keys = [bytes.fromhex(text(example, "image/key")) for example in examples]
    features = np.frombuffer(data, "<f4").reshape(len(examples), width)
    return Block(run, np.array(keys, "S16"), features, examples, np.array(places, np.uint64))


@functools.cache
def _example_class() -> Any:
    """tf.train.Example, as protobuf's own parser reads it without TensorFlow.

    Packed floats are a field of bytes on the wire; declared as such they need no conversion.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    package = "image_features"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/example.proto", package=package, syntax="proto3"
    )

    def declare(parent: Any, name: str, *fields: tuple[str, Any, bool]) -> Any:
        message = parent.add(name=name)
        for index, (label, kind, repeated) in enumerate(fields, 1):
            added = message.field.add(name=label, number=index)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added.type = field.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                added.type_name = f".{package}.{kind}"
        return message

    messages = file.message_type
    declare(messages, "BytesList", ("value", field.TYPE_BYTES, True))
    declare(messages, "FloatList", ("value", field.TYPE_BYTES, False))
    declare(messages, "Int64List", ("value", field.TYPE_INT64, True))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    declare(messages, "Feature", *((name, kind, False) for name, kind in lists))
    features = declare(messages, "Features", ("feature", "Features.FeatureEntry", True))
    entry = declare(
        features.nested_type,
        "FeatureEntry",
        ("key", field.TYPE_STRING, False),
        ("value", "Feature", False),
    )
    entry.options.map_entry = True
    declare(messages, "Example", ("features", "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Example"))
