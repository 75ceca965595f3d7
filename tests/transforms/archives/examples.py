"""TFRecord files for tests, spelled as writers other than TensorFlow may do."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from image_features.transforms.archives.framing import frame
from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import open_ranged
from tests import images

BYTES, FLOATS, INTEGERS = 1, 2, 3


def varint(value: int) -> bytes:
    """Returns a number as protobuf spells it."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes, wire: int = 2) -> bytes:
    """Returns a field of a message; one of wire type 2 with its length."""
    return varint(number << 3 | wire) + (varint(len(payload)) if wire == 2 else b"") + payload


def entry(name: str, kind: int, values: bytes) -> bytes:
    """Returns one feature of an example, of a list that is encoded already."""
    feature = field(kind, values) if kind else b""
    return field(1, field(1, name.encode()) + field(2, feature))


def of_bytes(name: str, *values: bytes) -> bytes:
    """Returns a feature of bytes."""
    return entry(name, BYTES, b"".join(field(1, value) for value in values))


def of_ints(name: str, *values: int) -> bytes:
    """Returns a feature of integers, packed."""
    return entry(name, INTEGERS, field(1, b"".join(map(varint, values))))


def example(*entries: bytes) -> bytes:
    """Returns a tf.train.Example."""
    return field(1, b"".join(entries))


def picture(seed: int) -> bytes:
    """Returns a small JPEG."""
    return images.encode(images.noise(seed, 24, 16))


def with_image(seed: int, *entries: bytes, name: str = "image/encoded") -> bytes:
    """Returns an example that has a picture."""
    return example(of_bytes(name, picture(seed)), *entries)


def write(path: pathlib.Path, records: Sequence[bytes]) -> pathlib.Path:
    """Writes a TFRecord file."""
    path.write_bytes(b"".join(map(frame, records)))
    return path


def rows_of(
    path: pathlib.Path,
    *,
    options: ArchiveOptions = FOUND,
    listed: bool = False,
    schema: Mapping[str, Column] | None = None,
) -> list[ManifestRow]:
    """Returns the rows of a TFRecord file."""
    with open_ranged(str(path), http=HttpPolicy()) as file:
        rows = read_packed(file, ArchiveFormat.TFRECORD, options, listed=listed, schema=schema)
        return list(rows)
