"""The types of the manifest columns that travel with an image into its record.

A record's columns have one type for the whole run: readers need a fixed schema, and a
TFRecord has only three kinds of value. The type comes from the manifest (Parquet), from
its first rows (JSONL), from the user (`--column_types`), or is text (CSV, TSV). A row
that does not fit is a dead letter, never a silent conversion.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from image_features.transforms.values import Columns, ColumnValue, Scalar

_SPEC = re.compile(r"^(?P<kind>[a-z0-9]+)(?P<list>\[\])?(?P<null>\?)?$")
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,30}\s*\Z")
_NUMBERS = ("int64", "float32", "bool")
_FLOAT32 = struct.Struct("<f")
_ALIASES = {
    "int": "int64",
    "float": "float32",
    "double": "float32",
    "str": "string",
    "text": "string",
    "boolean": "bool",
}


class ColumnError(ValueError):
    """A value or a declaration that does not fit; the message is for the user."""


class Kind(enum.StrEnum):
    """The type of a column's values in the output."""

    INT64 = "int64"
    FLOAT32 = "float32"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"


@dataclasses.dataclass(frozen=True)
class Column:
    """A passed-through column.

    Attributes:
      name: The name in the manifest and in the record.
      kind: The type of a value.
      repeated: Whether a row holds a list of values.
      nullable: Whether a row may hold no value; such a column is stored as a list of
        no or one value, so that an absent value is never invented.
    """

    name: str
    kind: Kind
    repeated: bool = False
    nullable: bool = False

    def holds_as(self, other: Column) -> bool:
        """Whether both columns hold values of the same type, whether or not these may be absent."""
        return (self.kind, self.repeated) == (other.kind, other.repeated)

    def to_json(self) -> dict[str, Any]:
        """Returns the column's entry in run.json."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "repeated": self.repeated,
            "nullable": self.nullable,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Column:
        """Returns the column of an entry in run.json.

        Raises:
          KeyError, ValueError: the entry is not one that `to_json` has written.
        """
        return cls(
            name=str(entry["name"]),
            kind=Kind(entry["kind"]),
            repeated=bool(entry.get("repeated", cls.repeated)),
            nullable=bool(entry.get("nullable", cls.nullable)),
        )

    def __str__(self) -> str:
        """Returns the type as `--column_types` spells it."""
        return f"{self.kind}{'[]' if self.repeated else ''}{'?' if self.nullable else ''}"

    @property
    def is_sequence(self) -> bool:
        """Whether records hold a list of any length for this column."""
        return self.repeated or self.nullable


def parse_column_types(text: str) -> dict[str, Column]:
    """Parses `name:type,...`, where type is int64, float32, bool, string or bytes.

    A type may be followed by `[]` (a list) and `?` (may be absent).

    Raises:
      ColumnError: a declaration is malformed.
    """
    columns: dict[str, Column] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, spec = part.rpartition(":")
        match = _SPEC.match(spec.strip()) if separator and name else None
        kind = _ALIASES.get(match["kind"], match["kind"]) if match else ""
        if match is None or kind not in set(Kind):
            raise ColumnError(
                f"--column_types has {part!r}; write name:type with type one of "
                f"{', '.join(Kind)}, then [] for a list and ? for one that may be absent."
            )
        columns[name] = Column(name, Kind(kind), bool(match["list"]), bool(match["null"]))
    return columns


def infer_columns(rows: Iterable[Mapping[str, ColumnValue]]) -> dict[str, Column]:
    """Infers a schema from sample rows (JSONL); a column of nulls only is text."""
    kinds: dict[str, set[Kind]] = {}
    repeated: set[str] = set()
    seen: dict[str, int] = {}
    total = 0
    for row in rows:
        total += 1
        for name, value in row.items():
            kinds.setdefault(name, set())
            if value is None:
                continue
            seen[name] = seen.get(name, 0) + 1
            if isinstance(value, list):
                repeated.add(name)
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    kinds[name].add(_kind_of(item))
    return {
        name: Column(name, _widest(found), name in repeated, seen.get(name, 0) < total)
        for name, found in kinds.items()
    }


def without_values(rows: Sequence[Mapping[str, ColumnValue]]) -> set[str]:
    """Returns the columns of which sample rows hold no value, so that their type is unknown."""
    names = {name for row in rows for name in row}
    for row in rows:
        for name, value in row.items():
            items = value if isinstance(value, list) else [value]
            if any(item is not None for item in items):
                names.discard(name)
    return names


def conform(row: Mapping[str, ColumnValue], schema: Mapping[str, Column]) -> Columns:
    """Fits a row's values to the schema, in the schema's order.

    Raises:
      ColumnError: a value does not fit its column, or a column is not in the schema.
    """
    if not row and not schema:
        return ()  # Most manifests name images only.
    unknown = [name for name in row if name not in schema]
    if unknown:
        raise ColumnError(
            f"column {unknown[0]!r} is not among those of the manifest's first rows; "
            f"declare it with --column_types={unknown[0]}:string? or the like"
        )
    return tuple((name, fit(row.get(name), column)) for name, column in schema.items())


def fit(value: ColumnValue, column: Column) -> ColumnValue:
    """Fits one value to a column.

    Raises:
      ColumnError: it does not fit.
    """
    if column.nullable and value == "" and column.kind in _NUMBERS and not column.repeated:
        value = None  # A field of CSV has no other way to be absent.
    if value is None:
        if column.is_sequence:
            return None
        raise ColumnError(
            f"column {column.name!r} has no value in this row; if it may be absent, say "
            f"--column_types={column.name}:{column.kind}?"
        )
    if isinstance(value, list):
        if not column.repeated:
            raise ColumnError(f"column {column.name!r} holds a list, not one {column.kind}")
        return [_fit_scalar(item, column) for item in value]
    if column.repeated:
        raise ColumnError(f"column {column.name!r} holds one value, not a list")
    return _fit_scalar(value, column)


def _fit_scalar(value: Scalar | None, column: Column) -> Scalar:
    """Converts only where nothing is lost, or where text spells the value out.

    A float becomes the nearest one of 32 bits, as its type says.
    """
    try:
        fitted = _FIT[column.kind](value)
    except (ValueError, OverflowError):
        fitted = None
    if fitted is not None:
        return fitted
    if value is None:
        raise ColumnError(f"column {column.name!r} holds a null within its list")
    shown = f"column {column.name!r} holds {value!r:.80}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ColumnError(
            f"{shown}, which {column.kind} cannot hold; as text it may stay, by "
            f"--column_types={column.name}:string"
        )
    raise ColumnError(f"{shown}, which is not {column.kind}")


def _as_string(value: Scalar | None) -> str | None:
    if isinstance(value, str):
        value.encode()  # A lone surrogate is not text.
        return value
    if isinstance(value, bytes):
        return value.decode()
    return None if value is None else json.dumps(value)


def _as_bytes(value: Scalar | None) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else None


def _as_bool(value: Scalar | None) -> bool | None:
    if isinstance(value, str) and value.lower() in ("true", "false", "0", "1"):
        return value.lower() in ("true", "1")
    return value if isinstance(value, bool) else None


def _as_int64(value: Scalar | None) -> int | None:
    if isinstance(value, str) and _INTEGER.match(value):
        value = int(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)  # Tables with absent values often hold integers so.
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None


def _as_float32(value: Scalar | None) -> float | None:
    number: Scalar | None = value
    if isinstance(value, str):
        number = float(value)
        if "_" in value or (math.isinf(number) and "n" not in value.lower()):
            return None  # Python reads 1_0 as ten, and 1e400 as infinite.
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    # Packing raises an OverflowError where the nearest float32 is infinite.
    (nearest,) = _FLOAT32.unpack(_FLOAT32.pack(float(number)))
    return None if isinstance(number, int) and nearest != number else float(number)


_FIT: dict[Kind, Callable[[Scalar | None], Scalar | None]] = {
    Kind.INT64: _as_int64,
    Kind.FLOAT32: _as_float32,
    Kind.BOOL: _as_bool,
    Kind.STRING: _as_string,
    Kind.BYTES: _as_bytes,
}


def _kind_of(value: Scalar) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOL
    if isinstance(value, int):
        # Text holds all digits of what int64 cannot hold.
        return Kind.INT64 if -(2**63) <= value < 2**63 else Kind.STRING
    if isinstance(value, float):
        return Kind.FLOAT32
    return Kind.BYTES if isinstance(value, bytes) else Kind.STRING


def _widest(kinds: set[Kind]) -> Kind:
    if len(kinds) == 1:
        return next(iter(kinds))
    return Kind.FLOAT32 if kinds == {Kind.INT64, Kind.FLOAT32} else Kind.STRING
