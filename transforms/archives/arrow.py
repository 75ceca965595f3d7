"""What Arrow's types have in them, however they are wrapped."""

from __future__ import annotations

from typing import Any


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


def inner_types(type_: Any) -> list[Any]:
    """Returns the types that a nested type has in it; those of others are none."""
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
