"""Arrow's types, and the columns that they become."""

from __future__ import annotations

from typing import Any

from image_features.transforms.archives.arrow import (
    inner_types,
    is_binary,
    is_list,
    is_text,
    stored_type,
)
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.manifests.rows import ManifestError


def column_of(field: Any, *, nullable: bool) -> Column:
    """Returns the column that a field of a schema becomes."""
    import pyarrow.types as types

    repeated = is_list(stored_type(field.type))
    inner = _item_type(field.type)
    if types.is_boolean(inner):
        kind = Kind.BOOL
    elif types.is_integer(inner):
        kind = Kind.INT64
    elif types.is_floating(inner):
        kind = Kind.FLOAT32
    elif is_binary(inner):
        kind = Kind.BYTES
    else:
        kind = Kind.STRING
    return Column(field.name, kind, repeated, nullable)


def check_type(name: str, type_: Any) -> None:
    """Refuses a type of which no value can be spelled, on this machine or at all.

    Raises:
      ManifestError: a time zone is unknown, or a struct names a field twice.
    """
    import pyarrow as pa
    import pyarrow.types as types

    type_ = stored_type(type_)
    if types.is_timestamp(type_) and type_.tz:
        try:
            pa.lib.string_to_tzinfo(type_.tz)
        except Exception as error:
            raise ManifestError(
                f"the column {name!r} has the time zone {type_.tz!r}, which this machine does not "
                "know: write it in another, or install the package tzdata if it is a real one"
            ) from error
    if types.is_struct(type_):
        fields = [type_.field(index).name for index in range(type_.num_fields)]
        if len(set(fields)) < len(fields):
            raise ManifestError(f"the column {name!r} is a struct that names a field twice")
    for inner in inner_types(type_):
        check_type(name, inner)


def names_text(type_: Any) -> bool:
    """Whether values of a type may be URIs."""
    stored = stored_type(type_)
    return is_text(stored) or is_binary(stored)


def is_uint64(type_: Any) -> bool:
    """Whether values of a type, or their items, may be integers that int64 cannot hold."""
    import pyarrow.types as types

    return bool(types.is_uint64(_item_type(type_)))


def is_null(type_: Any) -> bool:
    """Whether values of a type, or their items, are nothing but nulls."""
    import pyarrow.types as types

    return bool(types.is_null(_item_type(type_)))


def _item_type(type_: Any) -> Any:
    whole = stored_type(type_)
    return stored_type(whole.value_type) if is_list(whole) else whole
