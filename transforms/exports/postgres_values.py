"""The rows of an export as PostgreSQL takes them: types of columns, and values."""

from __future__ import annotations

from typing import Any

from image_features.transforms.exports.fields import KEY_NAME, VECTOR, RowFields
from image_features.transforms.exports.postgres_tables import NAME_BYTES
from image_features.transforms.exports.store import StoreError

_DIMENSIONS = 16_000
_TYPES = {
    "string": "text",
    "int64": "bigint",
    "float": "real",
    "bool": "boolean",
    "binary": "bytea",
}
_VECTORS = {"float": "vector", "halffloat": "halfvec"}


def types_of(schema: Any) -> dict[str, str]:
    """Returns the types of PostgreSQL, by column, that an Arrow schema's fields have.

    They are spelled as the catalogue does.
    """
    import pyarrow as pa

    types = {}
    for field in schema:
        type_ = field.type
        if pa.types.is_fixed_size_list(type_):
            types[field.name] = f"{_VECTORS[str(type_.value_type)]}({type_.list_size})"
        elif pa.types.is_list(type_):
            types[field.name] = f"{_TYPES[str(type_.value_type)]}[]"
        else:
            types[field.name] = _TYPES[str(type_)]
    return types


def columns_of(fields: RowFields) -> dict[str, str]:
    """Returns the types of a table's columns by their names.

    Raises:
      StoreError: PostgreSQL has no such names, or no such vectors.
    """
    if fields.vector.width > _DIMENSIONS:
        raise StoreError(
            f"the vectors have {fields.vector.width} values, and those of pgvector at most "
            f"{_DIMENSIONS}"
        )
    types = types_of(fields.schema())
    for name in types:
        if len(name.encode()) > NAME_BYTES:
            raise StoreError(
                f"the column {name} has a name of more than {NAME_BYTES} bytes, which PostgreSQL "
                "would cut; leave it out by --columns"
            )
        if "\0" in name:
            raise StoreError(
                f"the name of the column {name!r} holds a zero byte, which PostgreSQL does not "
                "take; leave it out by --columns"
            )
    return types


def check_values(rows: Any) -> None:
    """Makes sure that PostgreSQL takes a table's values as they are.

    Raises:
      StoreError: a text holds a zero byte, or a vector a value that is no finite number.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = rows.column(KEY_NAME)
    vectors = vectors_of(rows)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise StoreError(
            f"the vector of the row {keys[row]} has a value beyond what {vectors.dtype} holds, or "
            "none at all, and pgvector takes finite ones only; export with --dtype=float32, or "
            "with --normalize"
        )
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        column = column.combine_chunks()
        is_list = pa.types.is_list(column.type)
        values = column.flatten() if is_list else column
        if not pa.types.is_string(values.type):
            continue
        bad = pc.index(pc.match_substring(values, "\0"), True).as_py()
        if bad >= 0:
            row = pc.list_parent_indices(column)[bad].as_py() if is_list else bad
            raise StoreError(
                f"the column {name} of the row {keys[row]} has a zero byte in its text, which "
                "PostgreSQL does not take; leave the column out by --columns"
            )


def vectors_of(rows: Any) -> Any:
    """Returns the vectors of a table, [rows, width]."""
    column = rows.column(VECTOR).combine_chunks()
    return column.flatten().to_numpy().reshape(len(rows), -1)
