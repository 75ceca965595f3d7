"""The fields of an exported row: its vector, what it says of the image, and manifest columns."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.record_format import (
    FORMAT,
    HEIGHT,
    KEY,
    RECORDS,
    SHA256,
    URI,
    WIDTH,
    Record,
)
from image_features.transforms.shards.vectors import VectorField

KEY_NAME, VECTOR, SCALE = "key", "vector", "scale"
# What a row says of its image, by the names of exported fields.
_TEXTS = {"uri": URI, "sha256": SHA256, "format": FORMAT}
_NUMBERS = {"width": WIDTH, "height": HEIGHT}
OWN_NAMES = (*_TEXTS, *_NUMBERS)
_PREFIX = "column/"
_RESERVED = {KEY_NAME, VECTOR, SCALE, *OWN_NAMES}
_TYPES = {
    Kind.INT64: "int64",
    Kind.FLOAT32: "float32",
    Kind.BOOL: "bool",
    Kind.STRING: "string",
    Kind.BYTES: "binary",
}
_INT8_LIMIT = 127
# What is less is rounded to the largest value of float16, which is 65504.
FLOAT16_LIMIT = 65520.0

Floats = npt.NDArray[np.float32]


class VectorType(enum.StrEnum):
    """The type of the values of exported vectors."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


@dataclasses.dataclass(frozen=True)
class RowFields:
    """Which fields exported rows have, and how their vectors are stored.

    Attributes:
      vector: The field of a record whose vector is exported.
      own: Those of `OWN_NAMES` that are exported.
      columns: The manifest's columns that are exported.
      type: The type of the vectors' values. With int8 the field "scale" has the number by which
        the values of a row are multiplied to be the vector again.
      normalize: Whether vectors are scaled to length one; one without a direction stays zeros.
    """

    vector: VectorField
    own: tuple[str, ...] = OWN_NAMES
    columns: tuple[Column, ...] = ()
    type: VectorType = VectorType.FLOAT32
    normalize: bool = False

    def schema(self, *, vectors: bool = True) -> Any:
        """Returns the Arrow schema of `table`; without vectors that of all other fields."""
        import pyarrow as pa

        fields = [pa.field(KEY_NAME, pa.string(), nullable=False)]
        fields += [pa.field(name, pa.string()) for name in self.own if name in _TEXTS]
        fields += [pa.field(name, pa.int64()) for name in self.own if name in _NUMBERS]
        for column in self.columns:
            type_ = pa.type_for_alias(_TYPES[column.kind])
            fields.append(
                pa.field(exported_name(column), pa.list_(type_) if column.repeated else type_)
            )
        if self.type is VectorType.INT8:
            fields.append(pa.field(SCALE, pa.float32()))
        if vectors:
            value = pa.type_for_alias(str(self.type).replace("float16", "halffloat"))
            fields.append(pa.field(VECTOR, pa.list_(value, self.vector.width), nullable=False))
        return pa.schema(fields)

    def table(self, payloads: Sequence[bytes], *, vectors: bool = True) -> Any:
        """Returns rows of feature shards as a pyarrow.Table.

        Args:
          payloads: The rows, as a shard of features has them.
          vectors: Whether the table has the vectors.

        Raises:
          ValueError: a row has no such vector, one of another length, or one that the type cannot
            hold.
        """
        import pyarrow as pa

        records = [RECORDS.parse(payload) for payload in payloads]
        schema = self.schema(vectors=vectors)
        arrays = [pa.array([record.text(KEY) for record in records], pa.string())]
        arrays += [
            pa.array([record.text(_TEXTS[name]) for record in records], pa.string())
            for name in self.own
            if name in _TEXTS
        ]
        arrays += [
            pa.array([record.number(_NUMBERS[name]) for record in records], pa.int64())
            for name in self.own
            if name in _NUMBERS
        ]
        for column in self.columns:
            values = [record.column_value(column) for record in records]
            arrays.append(pa.array(values, schema.field(exported_name(column)).type))
        stored, scales = self.stored(records)
        if scales is not None:
            arrays.append(pa.array(scales, pa.float32()))
        if vectors:
            flat = pa.array(stored.reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, self.vector.width))
        return pa.Table.from_arrays(arrays, schema=schema)

    def stored(self, records: Sequence[Record]) -> tuple[npt.NDArray[Any], Floats | None]:
        """Returns the vectors as they are stored, [rows, width], and with int8 their scales.

        Raises:
          ValueError: as `table`.
        """
        features = self.vector.of(records) if records else np.empty((0, self.vector.width), "<f4")
        if self.normalize:
            features = unit(features)
        if self.type is VectorType.FLOAT32:
            return features, None
        largest = np.maximum(features.max(axis=1, initial=0), -features.min(axis=1, initial=0))
        if self.type is VectorType.INT8:
            scales = _scales(largest)
            steps = np.where(scales > 0, scales, 1)[:, np.newaxis]
            return np.rint(features / steps).astype(np.int8), scales
        if records and largest.max() >= FLOAT16_LIMIT:
            record = records[int(largest.argmax())]
            raise ValueError(
                f"The vector of {record.text(KEY)} has a value of {largest.max():g}, which float16 "
                "cannot hold: export with --normalize, or as float32."
            )
        return features.astype(np.float16), None


def _scales(largest: Floats) -> Floats:
    """Returns the steps of int8 for vectors of these largest values, so that none is beyond 127."""
    exact = largest.astype(np.float64) / _INT8_LIMIT
    scales = exact.astype(np.float32)
    # The tiniest numbers are so coarse that a step may be rounded to much less than it must be.
    tiny = exact < np.finfo(np.float32).tiny
    return np.where(tiny & (scales < exact), np.nextafter(scales, np.float32(1)), scales)


def exported_name(column: Column) -> str:
    """Returns the name of a manifest's column among exported fields, whose own names it may be.

    No two columns have one name: that of "column/key" is made longer as that of "key" is.
    """
    is_taken = column.name.rpartition(_PREFIX)[2] in _RESERVED
    return f"{_PREFIX}{column.name}" if is_taken else column.name


def unit(features: Floats) -> Floats:
    """Scales vectors to length one; those without a direction stay zeros."""
    wide = features.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, np.newaxis]
    wide /= np.where(lengths > 0, lengths, 1)
    return wide.astype(np.float32)
