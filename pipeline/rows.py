"""The rows of all committed runs of a dataset, without TensorFlow and in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
from apache_beam.io.filesystems import FileSystems

from pipeline import layout
from transforms.storage import open_plain
from transforms.tfrecord import read_records
from transforms.uris import shard_of

Floats = npt.NDArray[np.float32]
OFFSET_BITS = 40
_BLOCK_ROWS = 2048
_FRAME_BYTES = 16  # Of a TFRecord, around its data.


@dataclasses.dataclass(frozen=True)
class Run:
    """A committed run: its directory and its run.json."""

    directory: str
    record: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Images in it."""
        return int(self.record["counts"]["rows_out"])

    @property
    def made_by(self) -> tuple[Any, ...]:
        """What vectors must have in common to be compared."""
        model, options = self.record["model"], self.record["preprocessing"]
        names = ("image_size", "resize", "decode", "background")
        made = (model["content_hash"], model["precision"], *(options.get(name) for name in names))
        return tuple(json.dumps(part) for part in made)

    def files(self, kind: str = "features") -> list[Mapping[str, Any]]:
        """The shards of a kind, in order, empty ones too."""
        return [entry for entry in self.record["files"] if entry["kind"] == kind]


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes:
      run: Where they are from.
      keys: bytes16 [rows].
      features: float32 [rows, num_features].
      examples: The records' maps from a name to a value, [rows]; see `text` and `number`.
      places: uint64 [rows]: the number of the file among all of the dataset's, shifted by
        OFFSET_BITS, and the offset in it; all that an index keeps of a row.
    """

    run: Run
    keys: npt.NDArray[np.bytes_]
    features: Floats
    examples: Sequence[Any]
    places: npt.NDArray[np.uint64]


def committed_runs(path: str) -> list[Run]:
    """The committed run at a path, or all those one level below, the latest first.

    Raises:
      RunNotFoundError: there is none.
    """
    return [Run(directory, record) for directory, record in layout.committed_runs(path)]


def read_blocks(run: Run, first_file: int = 0) -> Iterator[Block]:
    """Yields a run's rows.

    Args:
      run: Which.
      first_file: Number of its first file among all of the dataset's.

    Raises:
      ValueError: a shard is not as it was written.
    """
    for number, entry in enumerate(run.files(), first_file):
        if entry["rows"]:
            with open_shard(run, entry) as file:
                yield from blocks(run, file, number << OFFSET_BITS)


def latest_rows(runs: Sequence[Run]) -> Iterator[Block]:
    """Yields the rows of all runs, of each key the one of the first run that has it."""
    seen = _Keys()
    first_file = 0
    for run in runs:
        for block in read_blocks(run, first_file):
            if len(runs) == 1:
                yield block
                continue
            rows = np.flatnonzero(~seen.holds(block.keys))
            seen.add(block.keys[rows])
            if len(rows):
                yield Block(
                    run,
                    block.keys[rows],
                    block.features[rows],
                    [block.examples[int(row)] for row in rows],
                    block.places[rows],
                )
        seen.settle()
        first_file += len(run.files())


def find_vector(runs: Sequence[Run], key: str) -> Floats | None:
    """The vector of a key in the first run that has it; reads one shard a run."""
    for run in runs:
        files = run.files()
        entry = files[shard_of(key, len(files))]
        if entry["rows"]:
            with open_shard(run, entry) as file:
                for block in blocks(run, file):
                    rows = np.flatnonzero(block.keys == np.bytes_(bytes.fromhex(key)))
                    if len(rows):
                        return cast(Floats, block.features[rows[0]])
    return None


def text(example: Any, name: str) -> str:
    """A string field of a record."""
    values = example[name].bytes_list.value
    return str(values[0].decode("utf-8", "replace")) if values else ""


def number(example: Any, name: str) -> int:
    """An integer field of a record."""
    values = example[name].int64_list.value
    return int(values[0]) if values else 0


@contextlib.contextmanager
def open_shard(run: Run, entry: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """Opens a shard for reading, decompressed."""
    with contextlib.ExitStack() as stack:
        path = FileSystems.join(run.directory, entry["name"])
        file: Any = stack.enter_context(contextlib.closing(open_plain(path)))
        if run.record["compression"] == "gzip":
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
    width = run.record["model"]["num_features"]
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


class _Keys:
    """A set of keys in 16 bytes each."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, "S16")
        self._new: list[npt.NDArray[np.bytes_]] = []

    def holds(self, keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
        """Which of the keys were there at the last `settle`."""
        if not len(self._sorted):
            return np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return cast(npt.NDArray[np.bool_], self._sorted[at] == keys)

    def add(self, keys: npt.NDArray[np.bytes_]) -> None:
        self._new.append(keys)

    def settle(self) -> None:
        """Makes what was added count; a run has each key once."""
        self._sorted = np.sort(np.concatenate([self._sorted, *self._new]))
        self._new = []


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
