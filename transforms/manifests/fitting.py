"""Many values of a column at once, as arrays that hold what `columns.conform` would give."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from image_features.transforms.manifests.arrow_values import Unreadable, values_of
from image_features.transforms.manifests.columns import Column, ColumnError, Kind, fit
from image_features.transforms.values import ColumnValue

# What a record holds as float32 is at most 3.4028235e38.
_MAX_FLOAT = 3.4e38
_TRUE = ("true", "True", "TRUE", "1")
_FALSE = ("false", "False", "FALSE", "0")
# Arrow reads both as Python does.
_INTEGERS = "^-?[0-9]{1,18}$"
_FLOATS = r"^-?[0-9]{1,19}(?:\.[0-9]{1,19})?(?:[eE][+-]?[0-9]{1,2})?$"


def stored_type(column: Column) -> Any:
    """Returns the Arrow type of a column's values; float32 is rounded where it is written."""
    import pyarrow as pa

    types = {
        Kind.INT64: pa.int64(),
        Kind.FLOAT32: pa.float64(),
        Kind.BOOL: pa.bool_(),
        # Rows of one shard may have more than the 2 GiB of text that smaller offsets reach.
        Kind.STRING: pa.large_string(),
        Kind.BYTES: pa.large_binary(),
    }
    kind = types[column.kind]
    return pa.list_(kind) if column.repeated else kind


def absent(column: Column, rows: int) -> Any:
    """Returns an array of no values; None if there must be some."""
    import pyarrow as pa

    return pa.nulls(rows, stored_type(column)) if column.is_sequence else None


def fit_text(texts: Any, column: Column) -> Any:
    """Fits text to a column.

    Args:
      texts: A pyarrow.Array of strings that are UTF-8, without nulls.
      column: The column.

    Returns:
      A pyarrow.Array of `stored_type`; None if a value does not fit, or may not.
    """
    fast = None if column.repeated else _TEXTS[column.kind](texts, column)
    return fit_values(texts.to_pylist(), column) if fast is None else fast


def fit_values(values: Sequence[ColumnValue], column: Column) -> Any:
    """Fits values to a column; returns what `fit_text` does."""
    import pyarrow as pa

    try:
        if column.kind is Kind.STRING and set(map(type, values)) == {bytes}:
            return pa.array(values, pa.large_binary()).cast(stored_type(column))
        if not _fits(values, column):
            values = [fit(value, column) for value in values]
        return pa.array(values, stored_type(column))
    except (ColumnError, ValueError, TypeError, OverflowError, pa.ArrowException):
        return None


def fit_any(values: Any, column: Column) -> Any:
    """Fits values, or a pyarrow.Array of text, to a column; returns what `fit_text` does."""
    return fit_values(values, column) if isinstance(values, list) else fit_text(values, column)


def fit_array(array: Any, column: Column) -> Any:
    """Fits an array of Parquet's types to a column; returns what `fit_text` does."""
    import pyarrow as pa
    import pyarrow.types as types

    type_ = array.type
    if not column.repeated and not (array.null_count and not column.nullable):
        if column.kind is Kind.INT64 and types.is_signed_integer(type_):
            return array.cast(pa.int64())
        if (column.kind is Kind.STRING and types.is_string(type_)) or (
            column.kind is Kind.BYTES and types.is_binary(type_)
        ):
            return array if is_whole(array) else None
        if column.kind is Kind.BOOL and types.is_boolean(type_):
            return array
        if column.kind is Kind.FLOAT32 and (types.is_float32(type_) or types.is_float64(type_)):
            floats = array.cast(pa.float64())
            if _are_small(floats):
                return floats
    values = values_of(array)
    if any(type(value) is Unreadable for value in values):
        return None
    return fit_values(values, column)


def size_of(value: ColumnValue) -> int:
    """Returns about how many bytes a value takes in an array."""
    if isinstance(value, list):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, str | bytes) else 8


def is_whole(array: Any) -> bool:
    """Whether an array's texts are UTF-8, which readers of Parquet do not ask."""
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _fits(values: Sequence[Any], column: Column) -> bool:
    """Whether values are the column's without a look at each; of others nothing is said."""
    import pyarrow as pa

    types = set(map(type, values))
    if column.is_sequence:
        types.discard(type(None))
    if column.repeated:
        if not types <= {list}:
            return False
        lists: Any = filter(None, values)
        values = list(itertools.chain.from_iterable(lists))
        types = set(map(type, values))
    if len(types) > 1 or not types <= _PYTHON.get(column.kind, set()):
        return False
    # An integer that is too large for Arrow is so for the column, and text that is no UTF-8.
    return column.kind is not Kind.FLOAT32 or _are_small(pa.array(values, pa.float64()))


_PYTHON: dict[Kind, set[type]] = {
    Kind.INT64: {int},
    Kind.FLOAT32: {float},
    Kind.BOOL: {bool},
    Kind.STRING: {str},
    Kind.BYTES: {bytes},
}


def _strings(texts: Any, column: Column) -> Any:
    return texts


def _binaries(texts: Any, column: Column) -> Any:
    import pyarrow as pa

    return texts.cast(pa.binary())


def _numbers(texts: Any, column: Column, pattern: str, type_: str) -> Any:
    import pyarrow.compute as pc

    if column.nullable:
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
    if not _all(pc.match_substring_regex(texts, pattern)):
        return None
    return texts.cast(type_)


def _integers(texts: Any, column: Column) -> Any:
    return _numbers(texts, column, _INTEGERS, "int64")


def _floats(texts: Any, column: Column) -> Any:
    floats = _numbers(texts, column, _FLOATS, "float64")
    return floats if floats is not None and _are_small(floats) else None


def _bools(texts: Any, column: Column) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.nullable:
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
    found = pc.is_in(texts, pa.array([*_TRUE, *_FALSE, *([None] if column.nullable else [])]))
    if not _all(found):
        return None
    return pc.if_else(pc.is_valid(texts), pc.is_in(texts, pa.array(_TRUE)), None)


def _are_small(floats: Any) -> bool:
    import pyarrow.compute as pc

    # What is not a number compares as false, and is looked at singly.
    return _all(pc.less_equal(pc.abs(floats), _MAX_FLOAT))


def _all(bools: Any) -> bool:
    """Whether all that are not null are true."""
    import pyarrow.compute as pc

    return bool(pc.all(bools, skip_nulls=True, min_count=0).as_py())


_TEXTS: dict[Kind, Callable[[Any, Column], Any]] = {
    Kind.INT64: _integers,
    Kind.FLOAT32: _floats,
    Kind.BOOL: _bools,
    Kind.STRING: _strings,
    Kind.BYTES: _binaries,
}
