"""Lance tables by themselves: what is committed, done twice, changed by others, and left behind."""

from __future__ import annotations

import datetime
import io
import os
import time

import numpy as np
import pytest

from image_features.errors import UsageError
from image_features.transforms.exports import lance_table
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.lance_table import LanceTable
from image_features.transforms.exports.lance_target import LanceTarget
from image_features.transforms.exports.lance_vectors import LanceVectors
from image_features.transforms.exports.target import VECTORS
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.record_format import FEATURES, KEY, RECORDS, column_field
from image_features.transforms.shards.shard_content import HashingSink
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.vectors import VectorField

lance = pytest.importorskip("lance")

WIDTH = 16
COLUMNS = (
    Column("rank", Kind.INT64, nullable=True),
    Column("score", Kind.FLOAT32),
    Column("good", Kind.BOOL),
    Column("tags", Kind.STRING, repeated=True),
    Column("raw", Kind.BYTES),
    Column("uri", Kind.STRING),
)
FIELDS = RowFields(VectorField("", WIDTH), columns=COLUMNS)


def key(number: int) -> str:
    return f"{number:032x}"


def vector(number: int, version: int = 0) -> np.ndarray:
    return np.random.default_rng([number, version]).normal(size=WIDTH).astype(np.float32)


def values(number: int) -> dict:
    return {
        "rank": None if number % 3 else number,
        "score": number / 4,
        "good": number % 2 == 0,
        "tags": [f"t{i}" for i in range(number % 3)],
        "raw": bytes([number % 256, 0]),
        "uri": f"of {number}",
    }


def payload(number: int, version: int = 0) -> bytes:
    fields = {KEY: [key(number).encode()], FEATURES: vector(number, version)}
    for column in COLUMNS:
        fields[column.name] = column_field(values(number)[column.name], column)
    return RECORDS.encode(fields)


def write(table: LanceTable, name: str, numbers, version: int = 0) -> ShardFile:
    """Writes a data file as a worker does."""
    os.makedirs(table.data, exist_ok=True)
    buffer = io.BytesIO()
    sink = HashingSink(buffer)
    with LanceVectors(table.fields).open(sink, len(numbers)) as out:
        for number in numbers:
            out.write(payload(number, version))
    name = f"vectors-{name}.lance"
    with open(f"{table.data}/{name}", "wb") as file:
        file.write(buffer.getvalue())
    return ShardFile(VECTORS, name, len(numbers), sink.size, sink.digest.hexdigest())


def keys(dataset) -> list[int]:
    return [int(text, 16) for text in dataset.to_table(columns=["key"])["key"].to_pylist()]


@pytest.fixture
def table(tmp_path):
    return LanceTable(str(tmp_path / "vectors.lance"), FIELDS)


@pytest.fixture
def first(table):
    """The table with rows 0 to 9 of the export `a`, in two files and an empty one."""
    files = [write(table, "0", range(6)), write(table, "1", []), write(table, "2", range(6, 10))]
    table.put("a", files)
    return table


def test_a_row_has_the_values_of_its_record(first):
    rows = lance.dataset(first.path).to_table()
    assert rows.schema.equals(FIELDS.schema())
    assert [fragment.count_rows() for fragment in lance.dataset(first.path).get_fragments()] == [
        6,
        4,
    ]
    for number, row in enumerate(rows.to_pylist()):
        assert row["key"] == key(number)
        np.testing.assert_array_equal(np.float32(row["vector"]), vector(number))
        want = values(number)
        want["column/uri"] = want.pop("uri")
        assert {name: row[name] for name in want} == want


@pytest.mark.parametrize("kind", [VectorType.FLOAT16, VectorType.INT8])
def test_vectors_of_other_types(tmp_path, kind):
    fields = RowFields(VectorField("", WIDTH), type=kind)
    table = LanceTable(str(tmp_path / "vectors.lance"), fields)
    table.put("a", [write(table, "0", range(3))])
    table.change("b", "a", [write(table, "1", [1, 3], version=1)], [key(0)], 3)
    rows = lance.dataset(table.path).to_table().to_pylist()
    assert [int(row["key"], 16) for row in rows] == [2, 1, 3]
    for row, wanted in zip(rows, [vector(2), vector(1, 1), vector(3, 1)], strict=True):
        got = np.float32(row["vector"]) * (row["scale"] if kind is VectorType.INT8 else 1)
        np.testing.assert_allclose(got, wanted, atol=0.02)


def test_the_same_rows_are_the_same_bytes(table):
    one, two = (write(table, name, range(2000)) for name in "12")
    assert (one.sha256, one.bytes) == (two.sha256, two.bytes)


def test_changes_are_one_version_that_readers_see_as_a_whole(first):
    before = lance.dataset(first.path)
    new = write(first, "b", [2, 7, 20], version=1)
    first.change("b", "a", [new], [key(3), key(99)], 10)
    after = lance.dataset(first.path)
    assert (before.version, after.version) == (1, 2)
    assert keys(before) == list(range(10))
    assert keys(after) == [0, 1, 4, 5, 6, 8, 9, 2, 7, 20]
    row = after.to_table(filter=f"key = '{key(7)}'").to_pylist()
    np.testing.assert_array_equal(np.float32(row[0]["vector"]), vector(7, 1))
    nearest = after.to_table(nearest={"column": "vector", "q": vector(7, 1), "k": 3})
    assert nearest["key"][0].as_py() == key(7)
    assert nearest["_distance"][0].as_py() == 0


def test_what_is_done_twice_is_done_once(first):
    files = [write(first, "0", range(6)), write(first, "2", range(6, 10))]
    assert first.put("a", files).version == 1
    new = write(first, "b", [2, 20], version=1)
    for _ in range(2):
        assert first.change("b", "a", [new], [key(3)], 10).version == 2
    assert keys(lance.dataset(first.path)) == [0, 1, 4, 5, 6, 7, 8, 9, 2, 20]


def test_a_file_all_of_whose_rows_are_replaced_is_left_out(first):
    first.change("b", "a", [write(first, "b", range(6), version=1)], [], 10)
    assert keys(lance.dataset(first.path)) == [6, 7, 8, 9, *range(6)]
    first.change("c", "b", [], [key(number) for number in range(10)], 0)
    assert lance.dataset(first.path).count_rows() == 0
    first.change("d", "c", [write(first, "d", [3])], [], 1)
    assert keys(lance.dataset(first.path)) == [3]


def test_no_rows_at_all(table):
    table.put("a", [write(table, "0", [])])
    assert lance.dataset(table.path).count_rows() == 0
    table.change("b", "a", [write(table, "1", [5])], [key(1)], 1)
    assert keys(lance.dataset(table.path)) == [5]


def test_other_numbers_of_rows_are_refused_before_readers_see_them(first):
    lance.dataset(first.path).delete(f"key = '{key(5)}'")
    with pytest.raises(ValueError, match="has 10 rows, where exports make it 11"):
        first.change("b", "a", [write(first, "b", [20])], [], 11)
    assert keys(lance.dataset(first.path)) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_what_others_do_for_the_table_is_no_harm(first):
    """They index it, compact it, add a column, and remove the versions that tell of exports."""
    dataset = lance.dataset(first.path)
    dataset.create_scalar_index("key", "BTREE")
    dataset.add_columns({"twice": "score * 2"})
    first.check("b", 10)
    first.change("b", "a", [write(first, "b", [2, 20], version=1)], [key(3)], 10)
    dataset = lance.dataset(first.path)
    assert dataset.to_table(filter=f"key = '{key(20)}'")["twice"].to_pylist() == [None]
    dataset.optimize.compact_files()
    dataset.cleanup_old_versions(older_than=datetime.timedelta(0), delete_unverified=True)
    first.change("c", "b", [write(first, "c", [20, 21], version=2)], [], 11)
    first.change("c", "b", [write(first, "c", [20, 21], version=2)], [], 11)
    dataset = lance.dataset(first.path)
    assert sorted(keys(dataset)) == [0, 1, 2, *range(4, 10), 20, 21]
    found = dataset.to_table(filter=f"key = '{key(20)}'").to_pylist()
    np.testing.assert_array_equal(np.float32(found[0]["vector"]), vector(20, 2))


def test_an_export_that_no_file_tells_of_is_not_built_upon(first):
    first.change("b", "a", [write(first, "b", [20])], [], 11)
    new = [write(first, "c", [21])]
    with pytest.raises(ValueError, match=r"an export that no \.export\.json tells of"):
        first.change("c", "a", new, [], 11)
    lance.dataset(first.path, version=1).restore()
    first.change("c", "a", new, [], 11)
    assert keys(lance.dataset(first.path)) == [*range(10), 21]


def test_a_table_of_others_is_left_alone(first):
    with pytest.raises(ValueError, match="is a table that another job has made"):
        first.put("z", [write(first, "z", [1])])
    assert lance.dataset(first.path).version == 1


def test_what_dead_attempts_leave_goes_after_a_week(first, tmp_path):
    old, young = write(first, "old", [30]), write(first, "young", [31])
    week = time.time() - 8 * 24 * 3600
    os.utime(f"{first.data}/{old.name}", (week, week))
    naming = ShardNaming(VECTORS, str(tmp_path), str(tmp_path / ".staging"), ".lance")
    target = LanceTarget(FIELDS, naming, naming, 1, str(tmp_path), "b", "a")
    target.finish([write(first, "b", [20])], {"rows": 11})
    left = sorted(os.listdir(first.data))
    assert left == sorted(f"vectors-{name}.lance" for name in ("0", "1", "2", "b", "young"))
    assert young.rows and keys(lance.dataset(first.path, version=1)) == list(range(10))


@pytest.mark.parametrize("name", ["a.b", "_rowid", "_distance", "a`b"])
def test_names_of_columns_that_lance_does_not_take(tmp_path, name):
    fields = RowFields(VectorField("", WIDTH), columns=(Column(name, Kind.INT64),))
    with pytest.raises(UsageError, match="choose others by --columns"):
        LanceTable(str(tmp_path / "vectors.lance"), fields).check("a")


def test_a_table_that_has_changed_is_refused_before_any_work(first, tmp_path):
    first.check("b", 10)
    first.check("a", 11)  # An attempt at it has got as far as the table.
    with pytest.raises(UsageError, match="has 10 rows, where exports make it 11"):
        first.check("b", 11)
    with pytest.raises(UsageError, match="is not there any more"):
        LanceTable(str(tmp_path / "other.lance"), FIELDS).check("b", 10)
    lance.dataset(first.path).drop_columns(["score"])
    with pytest.raises(UsageError, match="has no column score of the type float"):
        first.check("b", 10)
    lance.dataset(first.path).add_columns({"score": "cast(2 as float)"})
    # Data files would name the column that is gone.
    with pytest.raises(UsageError, match="has no column score of the type float"):
        first.check("b", 10)
    for file in os.scandir(f"{first.path}/_versions"):
        with open(file.path, "r+b") as opened:
            opened.truncate(10)
    with pytest.raises(UsageError, match=r"vectors.lance cannot be used: "):
        first.check("b", 10)


def test_pylance_that_is_missing_or_old(table, monkeypatch):
    with monkeypatch.context() as patch:
        patch.delattr("lance.fragment.LanceFragment.delete_rows")
        with pytest.raises(UsageError, match="needs pylance 10 or later"):
            table.check("a")
    monkeypatch.setattr(lance_table.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'image-feature-extractor\[lance\]'"):
        table.check("a")


@pytest.mark.parametrize("name", ["a b", "a%20b", "é", "a#b", "a?b", "a:b", "a[0]*"])
def test_directories_of_any_name(tmp_path, name):
    table = LanceTable(str(tmp_path / name / "vectors.lance"), FIELDS)
    table.check("a")
    table.put("a", [write(table, "0", range(3))])
    table.change("b", "a", [write(table, "1", [1, 3])], [key(0)], 3)
    assert os.listdir(tmp_path) == [name]
    assert keys(table.open()) == [2, 1, 3]


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_PQ"])
def test_an_index_of_vectors_stays_true(table, kind):
    table.put("a", [write(table, "0", range(300))])
    parts = {} if kind == "IVF_FLAT" else {"num_sub_vectors": 4}
    lance.dataset(table.path).create_index("vector", kind, num_partitions=2, **parts)
    table.change("b", "a", [write(table, "1", [7, 300], version=1)], [key(8)], 300)
    dataset = lance.dataset(table.path)
    for number, version, found in [(7, 1, 7), (300, 1, 300), (9, 0, 9), (8, 0, None), (7, 0, None)]:
        query = {"column": "vector", "q": vector(number, version), "k": 1, "nprobes": 2}
        row = dataset.to_table(nearest=query | {"refine_factor": 50}).to_pylist()[0]
        assert (int(row["key"], 16) if row["_distance"] < 1e-6 else None) == found
    dataset.optimize.optimize_indices()
    assert dataset.stats.index_stats("vector_idx")["num_unindexed_rows"] == 0
    assert table.change("b", "a", [], [], 300).count_rows() == 300
