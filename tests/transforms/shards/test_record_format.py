import gzip
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from image_features.transforms.archives.framing import data_of
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.record_format import (
    FEATURES,
    RECORDS,
    column_field,
    open_shard,
)
from image_features.transforms.shards.vectors import VectorField

_VALUES = {
    Kind.INT64: st.integers(-(2**63), 2**63 - 1),
    Kind.FLOAT32: st.floats(width=32, allow_nan=False),
    Kind.BOOL: st.booleans(),
    Kind.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    Kind.BYTES: st.binary(),
}


@st.composite
def columns(draw):
    """A column, and a value that a manifest may have in it."""
    kind = draw(st.sampled_from(Kind))
    repeated, nullable = draw(st.booleans()), draw(st.booleans())
    value = st.lists(_VALUES[kind], max_size=3) if repeated else _VALUES[kind]
    if nullable and not repeated:
        value = st.none() | value
    return Column("column", kind, repeated, nullable), draw(value)


@given(columns())
def test_a_columns_value_comes_back(pair):
    column, value = pair
    record = RECORDS.parse(RECORDS.encode({column.name: column_field(value, column)}))
    assert record.column_value(column) == value
    assert type(record.column_value(column)) is type(value)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), min_size=1))
def test_a_shard_is_its_rows_payloads(vectors):
    matrix = np.array(vectors, np.float32)
    fields = [
        {FEATURES: vector, "n": [number], "empty": []} for number, vector in enumerate(matrix)
    ]
    shard = b"".join(map(RECORDS.encode, fields))
    payloads = list(RECORDS.payloads(io.BytesIO(shard)))
    assert b"".join(payloads) == shard
    records = list(map(RECORDS.parse, payloads))
    np.testing.assert_array_equal(VectorField("", 3).of(records), matrix)
    assert [record.number("n") for record in records] == list(range(len(matrix)))
    for payload, vector in zip(payloads, matrix, strict=True):
        theirs = example_pb2.Example.FromString(data_of(payload)).features.feature
        np.testing.assert_array_equal(theirs[FEATURES].float_list.value, vector)
        assert set(theirs) == {FEATURES, "n"}


def test_an_absent_field_is_empty_and_stays_absent():
    record = RECORDS.parse(RECORDS.encode({"n": [1]}))
    assert record.text("absent") == "" and record.number("absent") == 0
    assert record.floats("absent").shape == (0,)
    assert set(record._features) == {"n"}


@pytest.mark.parametrize("other", [np.ones(2, np.float32), []])
def test_a_row_without_the_others_vector_is_refused(other):
    rows = [{FEATURES: np.ones(3, np.float32)}, {FEATURES: other}]
    records = [RECORDS.parse(RECORDS.encode(fields)) for fields in rows]
    with pytest.raises(ValueError, match=r"holds no image/features of 3 values"):
        VectorField("", 3).of(records)


def test_a_compressed_shard_is_opened_decompressed(tmp_path):
    payload = RECORDS.encode({"n": [1]})
    (tmp_path / "a.gz").write_bytes(gzip.compress(payload))
    (tmp_path / "a").write_bytes(payload)
    for name, compressed in (("a.gz", True), ("a", False)):
        with open_shard(str(tmp_path / name), compressed=compressed) as file:
            assert list(RECORDS.payloads(file)) == [payload]
