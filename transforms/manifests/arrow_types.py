"""Arrow's types, and the columns that they become."""

from __future__ import annotations

from typing import Any

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


def leaves(type_: Any) -> int:
    """Returns the number of columns that Parquet stores a type in."""
    return sum(map(leaves, inner_types(stored_type(type_)))) or 1


def is_list(type_: Any) -> bool:
    """Whether a type is one of Arrow's lists."""
    import pyarrow.types as types

    kinds = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(types, f"is_{kind}")(type_) for kind in kinds)


def is_text(type_: Any) -> bool:
    """Whether a type is one of Arrow's texts."""
    import pyarrow.types as types

    kinds = ("string", "large_string", "string_view")
    return any(getattr(types, f"is_{kind}")(type_) for kind in kinds)


def is_binary(type_: Any) -> bool:
    """Whether a type is one of Arrow's bytes."""
    import pyarrow.types as types

    kinds = ("binary", "large_binary", "fixed_size_binary", "binary_view")
    return any(getattr(types, f"is_{kind}")(type_) for kind in kinds)


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


def has_fixed_lists(type_: Any) -> bool:
    """Whether a type is, or has in it, lists of a fixed size."""
    import pyarrow.types as types

    stored = stored_type(type_)
    return types.is_fixed_size_list(stored) or any(map(has_fixed_lists, inner_types(stored)))


def with_plain_lists(type_: Any) -> Any:
    """Returns a type with its lists of any kind as plain ones, in which its values are the same."""
    import pyarrow as pa
    import pyarrow.types as types

    stored = stored_type(type_)
    if is_list(stored):
        return pa.list_(with_plain_lists(stored.value_type))
    if types.is_map(stored):
        return pa.map_(with_plain_lists(stored.key_type), with_plain_lists(stored.item_type))
    if types.is_struct(stored):
        fields = [stored.field(index) for index in range(stored.num_fields)]
        return pa.struct([field.with_type(with_plain_lists(field.type)) for field in fields])
    return type_


def inner_types(type_: Any) -> list[Any]:
    import pyarrow.types as types

    if types.is_map(type_):
        return [type_.key_type, type_.item_type]
    if types.is_struct(type_):
        return [type_.field(index).type for index in range(type_.num_fields)]
    return [type_.value_type] if is_list(type_) else []


def stored_type(type_: Any) -> Any:
    """Returns the type of the values of a type that wraps another."""
    import pyarrow as pa
    import pyarrow.types as types

    while True:
        if types.is_dictionary(type_):
            type_ = type_.value_type
        elif isinstance(type_, pa.BaseExtensionType):
            if type_.extension_name == "arrow.uuid":
                return pa.string()
            bool8 = type_.extension_name == "arrow.bool8"
            type_ = pa.bool_() if bool8 else type_.storage_type
        else:
            return type_


def _item_type(type_: Any) -> Any:
    whole = stored_type(type_)
    return stored_type(whole.value_type) if is_list(whole) else whole
