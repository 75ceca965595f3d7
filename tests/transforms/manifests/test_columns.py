import json

import pytest

from image_features.transforms.manifests.columns import (
    Column,
    ColumnError,
    Kind,
    conform,
    infer_columns,
    parse_column_types,
)


def test_declared_types_are_parsed():
    assert parse_column_types("label:int64, tags:string[], score:float?") == {
        "label": Column("label", Kind.INT64),
        "tags": Column("tags", Kind.STRING, repeated=True),
        "score": Column("score", Kind.FLOAT32, nullable=True),
    }


@pytest.mark.parametrize("text", ["label", "label:int7", ":int64", "a:int64[", "a:"])
def test_a_malformed_declaration_is_refused(text):
    with pytest.raises(ColumnError, match="name:type"):
        parse_column_types(text)


def test_types_are_inferred_and_widened_without_loss():
    rows = [
        {"a": 1, "b": 1, "c": True, "d": ["x"], "e": 1},
        {"a": 2, "b": 1.5, "c": False, "d": []},
    ]
    assert infer_columns(rows) == {
        "a": Column("a", Kind.INT64),
        "b": Column("b", Kind.FLOAT32),
        "c": Column("c", Kind.BOOL),
        "d": Column("d", Kind.STRING, repeated=True),
        "e": Column("e", Kind.INT64, nullable=True),
    }


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (1.5, Column("x", Kind.INT64)),
        (2**63, Column("x", Kind.INT64)),
        ("seven", Column("x", Kind.INT64)),
        (None, Column("x", Kind.INT64)),
        ([1], Column("x", Kind.INT64)),
        (1, Column("x", Kind.INT64, repeated=True)),
        ("yes", Column("x", Kind.BOOL)),
        ("\udcff", Column("x", Kind.STRING)),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value, column):
    with pytest.raises(ColumnError, match="'x'"):
        conform({"x": value}, {"x": column})


def test_text_that_spells_a_value_is_that_value():
    schema = parse_column_types("a:int64,b:float32,c:bool,d:bytes")
    values = conform({"a": "7", "b": "0.5", "c": "True", "d": "x"}, schema)
    assert values == (("a", 7), ("b", 0.5), ("c", True), ("d", b"x"))


def test_a_column_nobody_declared_is_refused():
    with pytest.raises(ColumnError, match="column_types=new"):
        conform({"new": 1}, {})


def test_a_column_is_kept_as_json_under_fixed_names():
    column = Column("label", Kind.INT64, repeated=True, nullable=False)
    entry = {"name": "label", "kind": "int64", "repeated": True, "nullable": False}
    assert json.dumps(column.to_json()) == json.dumps(entry)
    assert Column.from_json(entry) == column
    assert Column.from_json({"name": "a", "kind": "bytes", "later": 1}) == Column("a", Kind.BYTES)
    with pytest.raises(ValueError, match="complex"):
        Column.from_json(entry | {"kind": "complex"})
