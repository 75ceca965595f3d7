"""Exported files, as the programs read them that they are for."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from image_features.transforms.exports import parquet_vectors
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.npy_vectors import Metadata, NpyVectors
from image_features.transforms.exports.parquet_vectors import ParquetVectors, RemovedKeys
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.vectors import VectorField
from tests.transforms.exports.rows import key, payload, write

_VECTORS = np.random.default_rng(1).normal(0, 1, (7, 6)).astype(np.float32)
_VECTORS[3] = 0
_COLUMNS = (
    Column("label", Kind.STRING, nullable=True),
    Column("tags", Kind.STRING, repeated=True),
    Column("raw", Kind.BYTES, nullable=True),
    Column("good", Kind.BOOL),
    Column("a.b/c größe", Kind.INT64, nullable=True),
    # The path of vectors' values within a file, if it were not for the dots.
    Column("vector.list.element", Kind.STRING),
    Column("key", Kind.STRING),
)
_VALUES = [
    [None if n % 3 else f"l{n}", ["a", "b"][: n % 3], b"\xff", n % 2 == 0, n or None, "odd", "own"]
    for n in range(7)
]


def payloads():
    return [
        payload(n, vector, columns=list(zip(_COLUMNS, _VALUES[n], strict=True)))
        for n, vector in enumerate(_VECTORS)
    ]


def fields(type_=VectorType.FLOAT32, columns=_COLUMNS):
    return RowFields(VectorField("", 6), columns=columns, type=type_)


def expected(type_):
    """Returns the vectors that readers must see, and the names and values of columns."""
    stored = fields(type_).table(payloads())["vector"].combine_chunks().flatten()
    names = ["label", "tags", "raw", "good", "a.b/c größe", "vector.list.element", "column/key"]
    return np.asarray(stored).reshape(7, 6), dict(
        zip(names, zip(*_VALUES, strict=True), strict=True)
    )


@pytest.mark.parametrize("type_", VectorType)
def test_the_programs_that_read_parquet_see_the_values(type_, tmp_path):
    import datasets
    import duckdb
    import pandas as pd
    import polars as pl

    write(ParquetVectors(fields(type_)), tmp_path / "vectors-00000-of-00002.parquet", payloads())
    write(ParquetVectors(fields(type_)), tmp_path / "vectors-00001-of-00002.parquet", [])
    (tmp_path / ".export.json").write_text("{}")
    vectors, columns = expected(type_)
    if type_ is VectorType.FLOAT32:
        assert vectors.tobytes() == _VECTORS.tobytes()

    def check(rows, read_vectors, exact=True):
        for name, values in columns.items():
            found = [row[name] for row in rows]
            found = [v.tolist() if isinstance(v, np.ndarray) else v for v in found]
            assert [None if v != v else v for v in found] == list(values), name
        read = np.asarray(read_vectors)
        assert np.array_equal(read, vectors)
        if exact:
            assert read.dtype == vectors.dtype

    table = pyarrow.dataset.dataset(tmp_path).to_table()
    check(table.to_pylist(), np.stack(table["vector"].to_numpy()))
    frame = pd.read_parquet(tmp_path)
    check(frame.to_dict("records"), np.stack(frame["vector"]))
    polars = pl.read_parquet(tmp_path / "*.parquet")
    check(polars.to_dicts(), polars["vector"].to_numpy())
    query = f"SELECT * FROM '{tmp_path}/*.parquet' ORDER BY key"
    duck = duckdb.sql(query).to_arrow_table()
    # DuckDB knows no float16, and reads it as what it is exactly in float32.
    check(duck.to_pylist(), np.stack(duck["vector"].to_pylist()), exact=False)
    none = duckdb.execute(f"SELECT count(*) FROM '{tmp_path}/*-00001-*.parquet'").fetchall()
    assert none == [(0,)]
    loaded = datasets.load_dataset(
        "parquet", data_dir=str(tmp_path), cache_dir=str(tmp_path / ".cache"), split="train"
    )
    check(loaded.to_list(), loaded.with_format("arrow")[:]["vector"].to_pylist(), exact=False)
    assert loaded.features["vector"].length == 6
    if type_ is VectorType.INT8:
        back = vectors * table["scale"].to_numpy()[:, None]
        assert np.abs(back - _VECTORS).max() <= table["scale"].to_numpy().max() * 0.501


def test_readers_skip_by_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_vectors, "_GROUP_ROWS", 2)
    monkeypatch.setattr("image_features.transforms.exports.batches._ROWS", 2)
    path = write(ParquetVectors(fields(columns=_COLUMNS[:5])), tmp_path / "f.parquet", payloads())
    about = pq.read_metadata(path)
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == [2, 2, 2, 1]
    bounds = [about.row_group(n).column(0).statistics for n in range(about.num_row_groups)]
    assert [b.min for b in bounds] == [key(0), key(2), key(4), key(6)]
    assert [b.max for b in bounds] == [key(1), key(3), key(5), key(6)]
    assert about.row_group(0).sorting_columns == (pq.SortingColumn(0),)
    for number in range(about.num_columns):
        column = about.row_group(0).column(number)
        assert column.is_stats_set == (column.path_in_schema != "vector.list.element")
        assert "BYTE_STREAM_SPLIT" not in column.encodings
    rows = pyarrow.dataset.dataset(path).to_table(filter=pyarrow.dataset.field("key") == key(5))
    assert rows["width"].to_pylist() == [645]


def test_groups_are_of_some_mebibytes(tmp_path):
    wide = RowFields(VectorField("", 2**14))
    rows = [payload(n, np.full(2**14, n)) for n in range(1100)]
    about = pq.read_metadata(write(ParquetVectors(wide), tmp_path / "f.parquet", rows))
    sizes = [about.row_group(n).num_rows * 2**16 for n in range(about.num_row_groups)]
    assert len(sizes) == 3 and all(2**25 <= size < 2**25 + 9 * 2**20 for size in sizes[:-1])


@pytest.mark.parametrize(
    "content",
    [ParquetVectors(fields()), NpyVectors(fields()), ParquetVectors(Metadata(fields()))],
)
def test_the_same_rows_are_the_same_bytes(content, tmp_path):
    one = write(content, tmp_path / "1", payloads()).read_bytes()
    assert write(content, tmp_path / "2", payloads(), block=7).read_bytes() == one
    with pytest.raises(ValueError, match="a row that is not whole"):
        write(content, tmp_path / "3", [payloads()[0][:-1]])


def test_keys_that_are_gone(tmp_path):
    path = write(RemovedKeys(), tmp_path / "1.parquet", [key(1).encode(), key(2).encode()])
    assert pq.read_table(path).to_pylist() == [{"key": key(1)}, {"key": key(2)}]
    none = write(RemovedKeys(), tmp_path / "2.parquet", [])
    assert pq.read_metadata(none).num_row_groups == 0  # Hugging Face's datasets takes no empty one.
    assert pq.read_table(none).schema == pq.read_table(path).schema


@pytest.mark.parametrize("type_", VectorType)
def test_arrays_are_mapped_and_searched(type_, tmp_path):
    path = write(NpyVectors(fields(type_)), tmp_path / "img_emb_0.npy", payloads())
    array = np.load(path, mmap_mode="r")
    vectors, _ = expected(type_)
    assert array.dtype == vectors.dtype and np.array_equal(array, vectors)
    if type_ is not VectorType.INT8:
        # So embedding_reader, which is what autofaiss reads by, finds the shape.
        first = path.read_bytes()[:300].split(b"\n")[0]
        assert re.search(r"'shape': \(7, 6\)", str(first))
        assert re.search(r"'descr': '([<f0-9]+)'", str(first))
        assert path.stat().st_size - len(first) - 1 == array.nbytes
    import faiss

    index = faiss.IndexFlatIP(6)
    index.add(np.asarray(array, np.float32))
    assert index.search(np.asarray(array[5:6], np.float32), 1)[1].tolist() == [[5]]


def test_an_array_without_rows_has_its_width(tmp_path):
    array = np.load(write(NpyVectors(fields()), tmp_path / "none.npy", []), mmap_mode=None)
    assert array.shape == (0, 6) and array.dtype == np.float32


def test_metadata_has_the_rows_of_the_array_and_says_where_images_are(tmp_path):
    rows = [payload(0, [0] * 6, uri="/p/1.jpg"), payload(1, [1] * 6, uri="https://e.org/2.jpg")]
    what = fields(VectorType.INT8, columns=())
    table = pq.read_table(write(ParquetVectors(Metadata(what)), tmp_path / "m.parquet", rows))
    assert table["image_path"].to_pylist() == ["/p/1.jpg", "https://e.org/2.jpg"]
    assert table["url"].to_pylist() == [None, "https://e.org/2.jpg"]
    assert table["scale"].to_pylist() == pytest.approx([0, 1 / 127])
    assert "vector" not in table.schema.names


def test_columns_of_the_manifest_stay_what_they_are(tmp_path):
    url = Column("url", Kind.INT64)
    what = RowFields(VectorField("", 6), own=("uri",), columns=(url,))
    table = Metadata(what).table([payload(0, [0] * 6, columns=[(url, 7)])])
    assert table.schema.names == ["key", "uri", "url", "image_path"]
    assert table["url"].to_pylist() == [7]
    bare = RowFields(VectorField("", 6), own=())
    assert Metadata(bare).table([payload(0, [0] * 6)]).schema == pa.schema(
        [pa.field("key", pa.string(), nullable=False)]
    )
