"""Columns of Parquet: each value comes back as it was, or its row alone is an error."""

from __future__ import annotations

import json
import uuid

import pyarrow as pa
import pytest

from image_features.transforms.manifests.columns import Column, ColumnError, Kind, conform
from image_features.transforms.manifests.rows import ManifestError
from tests.transforms.manifests.tables import columns_of, named, read


def test_one_bad_value_spoils_no_other():
    text = pa.array([b"a"] * 5000 + [b"\xff\xfe"] + [b"a"] * 5000).view(pa.string())
    for array in (
        text,
        pa.array([b"a"] * 5000 + [b"\xff\xfe"], pa.large_binary()).view(pa.large_string()),
        pa.array([b"a"] * 5000 + [b"\xff\xfe"], pa.binary_view()).view(pa.string_view()),
        text.dictionary_encode(),
        pa.ListArray.from_arrays(range(len(text) + 1), text),
        pa.StructArray.from_arrays([text], ["a"]),
    ):
        rows = read(pa.table({"uri": named(len(array)), "x": array}))
        (failed,) = [row for row in rows if row.problem]
        assert (failed.number, failed.uri) == (5001, "5000.jpg")
        assert "which is not UTF-8" in failed.problem
        good = {json.dumps(row.values["x"]) for row in rows if row is not failed}
        assert good in ({'"a"'}, {'["a"]'}, {json.dumps('{"a": "a"}')})


def test_what_cannot_be_carried_fails_again_when_it_is_read_again():
    far = pa.array([0, 2**62], pa.timestamp("us"))
    table = pa.table({"uri": named(2), "t": far, "l": pa.array([[0], [2**62]], pa.list_(far.type))})
    good, bad = read(table)
    assert good.values == {"t": "1970-01-01T00:00:00", "l": ["1970-01-01T00:00:00"]}
    assert "timestamp[us], which is beyond the years 1 to 9999" in bad.problem
    for name, column in (
        ("t", Column("t", Kind.STRING, nullable=True)),
        ("l", Column("l", Kind.STRING, repeated=True)),
    ):
        with pytest.raises(ColumnError):
            conform({name: bad.values[name]}, {name: column})


def test_extension_types_have_the_spelling_of_what_they_mean(tmp_path):
    one = uuid.UUID(int=1)
    storage, odd = pa.array([1, None], pa.int8()), pa.array([b"x", b"y"])
    tensor = pa.array([[1, 2, 3, 4], None], pa.list_(pa.float32(), 4))
    table = pa.table(
        {
            "uri": named(2),
            "id": pa.array([one.bytes, None], pa.uuid()),
            "ids": pa.ListArray.from_arrays([0, 1, 1], pa.array([one.bytes], pa.uuid())),
            "flag": pa.ExtensionArray.from_storage(pa.bool8(), storage),
            "json": pa.array(['{"a": 1}', None], pa.json_()),
            "tensor": pa.ExtensionArray.from_storage(
                pa.fixed_shape_tensor(pa.float32(), [2, 2]), tensor
            ),
            "odd": pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "t", "v"), odd),
        }
    )
    kinds = {name: str(column) for name, column in columns_of(tmp_path / "m", table).items()}
    assert kinds == {
        "uri": "string",
        "id": "string?",
        "ids": "string[]?",
        "flag": "bool?",
        "json": "string?",
        "tensor": "float32[]?",
        "odd": "bytes",
    }
    rows = read(table)
    assert rows[0].values == {
        "id": str(one),
        "ids": [str(one)],
        "flag": True,
        "json": '{"a": 1}',
        "tensor": [1, 2, 3, 4],
        "odd": b"x",
    }
    assert rows[1].values == dict.fromkeys(rows[0].values) | {"ids": [], "odd": b"y"}


def test_large_unsigned_integers_are_text(tmp_path):
    large = pa.array([1, 2**64 - 1], pa.uint64())
    small = pa.array([1, 2**63 - 1], pa.uint64())
    lists = pa.array([[2**63], []], pa.list_(pa.uint64()))
    table = pa.table({"uri": named(2), "large": large, "small": small, "lists": lists})
    columns = columns_of(tmp_path / "m", table)
    assert [str(columns[name]) for name in ("large", "small")] == ["string", "int64"]
    assert columns["lists"].kind is Kind.STRING
    schema = {name: column for name, column in columns.items() if name != "uri"}
    assert dict(conform(read(table)[1].values, schema)) == {
        "large": "18446744073709551615",
        "small": 2**63 - 1,
        "lists": [],
    }


def test_columns_count_by_their_places_and_not_by_their_paths(tmp_path):
    table = pa.table(
        {
            "s": pa.array([{"a": 1, "b": [1]}] * 2),
            "s.a": pa.array([1, None]),
            "m": pa.array([[("k", 1)]] * 2, pa.map_(pa.string(), pa.int8())),
            "m.k": [1, 2],
            "uri": named(2),
        }
    )
    columns = columns_of(tmp_path / "m", table)
    assert {name: column.nullable for name, column in columns.items()} == {
        "s": False,
        "s.a": True,
        "m": False,
        "m.k": False,
        "uri": False,
    }


@pytest.mark.parametrize(
    "uris",
    [
        pa.array([b"a.jpg", None, b"\xff"]),
        pa.array([b"a.jpg", None, b"\xff"], pa.binary()).view(pa.string()),
        pa.array([b"a.jpg", None, b"\xff"], pa.binary()).view(pa.string()).dictionary_encode(),
    ],
)
def test_uris_of_any_text(uris):
    good, absent, bad = read(pa.table({"uri": uris}))
    assert good.uri == "a.jpg"
    assert "holds no URI but None" in absent.problem
    assert "\\xff" in bad.problem
    assert not bad.uri


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table([[1], [2], ["a"]], names=["a", "a", "uri"]), "the column 'a' twice"),
        (pa.table({"uri": [5]}), "'uri' of m.parquet is int64, which is no text"),
        (pa.table({"where": ["a"]}), "no URI column"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(table, words):
    with pytest.raises(ManifestError, match=words):
        read(table)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[0]], pa.list_(pa.timestamp("s", "Mars/Phobos"))), "time zone 'Mars/Phobos'"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "field twice"),
    ],
)
def test_a_type_that_cannot_be_spelled_is_refused(tmp_path, column, words):
    table = pa.table({"uri": ["a"], "x": column})
    with pytest.raises(ManifestError, match=words):
        columns_of(tmp_path / "m", table)
    with pytest.raises(ManifestError, match=words):
        read(table)


def test_a_table_without_rows_has_its_columns(tmp_path):
    table = pa.table({"uri": pa.array([], pa.string()), "x": pa.array([], pa.int8())})
    assert columns_of(tmp_path / "m", table)["x"] == Column("x", Kind.INT64)
    assert read(table) == []
