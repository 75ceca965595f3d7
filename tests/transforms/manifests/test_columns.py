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
        (True, Column("x", Kind.INT64)),
        (True, Column("x", Kind.FLOAT32)),
        (1, Column("x", Kind.BOOL)),
        ("1_000", Column("x", Kind.INT64)),
        ("1_000", Column("x", Kind.FLOAT32)),
        (1e300, Column("x", Kind.FLOAT32)),
        ("-1e300", Column("x", Kind.FLOAT32)),
        ("1e400", Column("x", Kind.FLOAT32)),
        (2**24 + 1, Column("x", Kind.FLOAT32)),
        (10**400, Column("x", Kind.FLOAT32)),
        (float("nan"), Column("x", Kind.INT64)),
        ("", Column("x", Kind.INT64)),
        (["a", None], Column("x", Kind.STRING, repeated=True)),
        ([None], Column("x", Kind.FLOAT32, repeated=True)),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value, column):
    with pytest.raises(ColumnError, match="'x'"):
        conform({"x": value}, {"x": column})


def test_text_that_spells_a_value_is_that_value():
    schema = parse_column_types("a:int64,b:float32,c:bool,d:bytes")
    values = conform({"a": "7", "b": "0.5", "c": "True", "d": "x"}, schema)
    assert values == (("a", 7), ("b", 0.5), ("c", True), ("d", b"x"))


def test_numbers_are_taken_where_nothing_is_lost():
    schema = parse_column_types("a:float32,b:float32,c:float32,d:int64,e:int64,f:string")
    values = {"a": 2**24, "b": -(2.0**127), "c": float("-inf"), "d": 3.0, "e": " -7 ", "f": 2**64}
    fitted = (2**24, -(2.0**127), float("-inf"), 3, -7, "18446744073709551616")
    assert tuple(value for _, value in conform(values, schema)) == fitted


def test_an_empty_field_is_no_number_but_absent():
    schema = parse_column_types("a:int64?,b:float32?,c:bool?,d:string?")
    values = conform(dict.fromkeys("abcd", ""), schema)
    assert values == (("a", None), ("b", None), ("c", None), ("d", ""))


def test_integers_beyond_int64_are_inferred_as_text():
    rows = [{"a": 2**63, "b": [1, None]}, {"a": 1, "b": []}]
    assert infer_columns(rows) == {
        "a": Column("a", Kind.STRING),
        "b": Column("b", Kind.INT64, repeated=True),
    }


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
