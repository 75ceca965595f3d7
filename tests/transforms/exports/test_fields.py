"""The fields of exported rows: types, names and vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from image_features.transforms.exports.fields import RowFields, VectorType, exported_name
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.vectors import VectorField
from tests.transforms.exports.rows import key, payload

_TINIEST, _LARGEST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo("<f4").max)
_ODD = [
    [0, 0, 0, 0],
    [-0.0, 1, -1, 0.5],
    [_TINIEST, -_TINIEST, 0, 0],
    [200 * _TINIEST, 3 * _TINIEST, -200 * _TINIEST, 0],
    [_LARGEST, -_LARGEST, _LARGEST / 2, 1],
    [65504, -65504, 65519, 1e-7],
    [1e-30, 2e-30, -3e-30, 1],
]


def fields(**options):
    return RowFields(VectorField("", 4), **options)


def records(vectors):
    return [RECORDS.parse(payload(n, vector)) for n, vector in enumerate(vectors)]


def test_rows_become_typed_columns():
    columns = {
        Column("label", Kind.STRING): ["cat", "größe", ""],
        Column("maybe", Kind.STRING, nullable=True): [None, "x", None],
        Column("count", Kind.INT64, nullable=True): [-(2**63), None, 2**63 - 1],
        Column("share", Kind.FLOAT32): [0.5, -0.0, 1e-45],
        Column("good", Kind.BOOL, nullable=True): [True, False, None],
        Column("raw", Kind.BYTES): [b"\xff\x00", b"", b"a"],
        Column("tags", Kind.STRING, repeated=True): [["a", "b"], [], ["c"]],
        Column("bits", Kind.BOOL, repeated=True): [[True], [False, True], []],
        Column("numbers", Kind.INT64, repeated=True): [[1], [], [2, 3]],
        Column("floats", Kind.FLOAT32, repeated=True): [[0.5], [], [2, 3]],
        Column("blobs", Kind.BYTES, repeated=True): [[b"\x80"], [], [b"", b"a"]],
    }
    rows = [
        payload(n, [n] * 4, columns=[(column, values[n]) for column, values in columns.items()])
        for n in range(3)
    ]
    table = fields(columns=tuple(columns)).table(rows)
    for column, values in columns.items():
        if column.kind is Kind.FLOAT32 and not column.repeated:
            values = np.float32(values).tolist()
        assert table[column.name].to_pylist() == values, column
    assert table["key"].to_pylist() == [key(0), key(1), key(2)]
    assert table["uri"].to_pylist()[1] == "gs://bucket/1.jpg"
    assert table["width"].to_pylist() == [640, 641, 642]
    assert table["vector"].type.list_size == 4
    table.validate(full=True)


def test_text_that_is_not_utf_8_is_text_as_for_other_readers():
    column = Column("label", Kind.STRING)
    table = fields(columns=(column,)).table([payload(0, [0] * 4, label=[b"caf\xe9"])])
    assert table["label"].to_pylist() == ["caf\ufffd"]


def test_what_a_row_does_not_have_is_null():
    columns = (Column("late", Kind.INT64, nullable=True), Column("tags", Kind.STRING, True))
    table = fields(columns=columns).table([payload(0, [0] * 4)])
    assert table["late"].to_pylist() == [None]
    assert table["tags"].to_pylist() == [[]]


def test_no_two_columns_have_one_name():
    taken = ["key", "vector", "scale", "uri", "sha256", "format", "width", "height"]
    names = [*taken, "a.b", "a/b", "Key", "größe", "column/x", "x", "column/", "column"]
    for depth in (1, 2):
        names += ["column/" * depth + name for name in taken]
    exported = [exported_name(Column(name, Kind.STRING)) for name in names]
    assert len(set(exported)) == len(names) and not set(exported) & set(taken)
    unchanged = ["a.b", "a/b", "Key", "größe", "column/x", "x", "column/", "column"]
    assert [exported_name(Column(name, Kind.STRING)) for name in unchanged] == unchanged


def test_float32_is_bit_for_bit_what_the_dataset_has():
    stored, scales = fields().stored(records(_ODD))
    assert stored.tobytes() == np.float32(_ODD).tobytes() and scales is None


@pytest.mark.parametrize("normalize", [False, True])
def test_int8_is_within_half_a_step(normalize):
    noise = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    vectors = np.concatenate([np.float32(_ODD), noise])
    what = fields(type=VectorType.INT8, normalize=normalize)
    stored, scales = what.stored(records(vectors))
    assert stored.dtype == np.int8 and scales.dtype == np.float32
    wide = vectors.astype(np.float64)
    if normalize:
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        wide /= np.where(lengths, lengths, 1)
    steps = scales.astype(np.float64)[:, None]
    assert (np.abs(stored * steps - wide) <= steps * (0.5 + 1e-4)).all()
    assert (np.abs(stored).max(axis=1)[3:] >= 64).all()  # The range is used.
    assert not stored[0].any() and scales[0] == 0


def test_float16_is_within_half_a_step():
    vectors = [row for row in _ODD if np.abs(row).max() < 65520]
    stored, scales = fields(type=VectorType.FLOAT16).stored(records(vectors))
    assert stored.dtype == np.float16 and scales is None
    error = np.abs(stored.astype(np.float64) - np.float32(vectors))
    assert (error <= np.maximum(np.abs(vectors) * 2.0**-11, 2.0**-25)).all()


def test_what_float16_cannot_hold_is_never_infinite():
    what = fields(type=VectorType.FLOAT16)
    for value in (65520, -7e4, _LARGEST):
        with pytest.raises(ValueError, match=f"vector of {key(1)} .*--normalize, or as float32"):
            what.table([payload(0, [1] * 4), payload(1, [0, value, 0, 0])])
    unit = fields(type=VectorType.FLOAT16, normalize=True).stored(records(_ODD))[0]
    assert np.isfinite(unit).all()


def test_vectors_of_any_size_are_scaled_to_length_one():
    stored = fields(normalize=True).stored(records(_ODD))[0].astype(np.float64)
    lengths = np.linalg.norm(stored, axis=1)
    assert lengths[0] == 0 and np.allclose(lengths[1:], 1, atol=1e-6)
    assert np.isfinite(stored).all()


@pytest.mark.parametrize("type_", VectorType)
def test_no_rows_are_a_table_of_none(type_):
    table = fields(type=type_).table([])
    assert len(table) == 0 and table.schema == fields(type=type_).schema()


def test_the_model_that_is_asked_for():
    row = payload(0, [1, 2], field="image/features/a", **{"image/features/b": np.float32([3])})
    for name, vector in (("a", [1, 2]), ("b", [3])):
        table = RowFields(VectorField(name, len(vector))).table([row])
        assert table["vector"].to_pylist() == [vector]
    with pytest.raises(ValueError, match="image/features/b of 2 values"):
        RowFields(VectorField("b", 2)).table([row])


def test_columns_are_in_one_order_whatever_is_chosen():
    for names in itertools.combinations(("uri", "width"), 1):
        assert fields(own=names).table([]).schema.names == ["key", *names, "vector"]
