"""Columns on the whole way: from manifests of any types and columns to every reader of the run."""

from __future__ import annotations

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from tests import datasets, images

_ID = uuid.UUID(int=7)
_MOMENT = datetime.datetime(2020, 1, 2, 3, 4, 5)
# The type, a value, and what becomes of it. The last row of each column has none.
_COLUMNS = {
    "int8": (pa.int8(), -5, -5),
    "uint64": (pa.uint64(), 2**64 - 1, "18446744073709551615"),
    "float16": (pa.float16(), 1.5, 1.5),
    "float64": (pa.float64(), 0.1, float(np.float32(0.1))),
    "bool": (pa.bool_(), True, True),
    "text": (pa.large_string(), "é", "é"),
    "text_view": (pa.string_view(), "x", "x"),
    "bytes": (pa.binary(), b"\0\xff\0", b"\0\xff\0"),
    "fixed": (pa.binary(2), b"ab", b"ab"),
    "bytes_view": (pa.binary_view(), b"ab", b"ab"),
    "category": (pa.dictionary(pa.int8(), pa.string()), "cat", "cat"),
    "uuid": (pa.uuid(), _ID.bytes, str(_ID)),
    "nothing": (pa.null(), None, None),
    "decimal": (pa.decimal128(5, 2), decimal.Decimal("1.50"), "1.50"),
    "date": (pa.date32(), _MOMENT.date(), "2020-01-02"),
    "time": (pa.time64("ns"), 1, "00:00:00.000000001"),
    "moment": (pa.timestamp("s"), _MOMENT, "2020-01-02T03:04:05"),
    "zoned": (
        pa.timestamp("ns", "Europe/Berlin"),
        1606826389820565123,
        "2020-12-01T13:39:49.820565123+01:00",
    ),
    "span": (pa.duration("ns"), 1001, "0:00:00.000001001"),
    "ints": (pa.list_(pa.int64()), [1, 2], [1, 2]),
    "vector": (pa.list_(pa.float32(), 2), [1.0, 2.0], [1.0, 2.0]),
    "dates": (pa.list_view(pa.date32()), [_MOMENT.date()], ["2020-01-02"]),
    "blobs": (pa.large_list(pa.binary()), [b"\xff"], [b"\xff"]),
    "flags": (pa.list_(pa.bool_()), [True, False], [True, False]),
    "table": (pa.list_(pa.list_(pa.int8())), [[1], [2, None]], ["[1]", "[2, null]"]),
    "map": (pa.map_(pa.string(), pa.int8()), [("k", 1)], '{"k": 1}'),
    "numbered": (pa.map_(pa.int8(), pa.string()), [(1, "k")], '[[1, "k"]]'),
    "struct": (
        pa.struct({"z": pa.binary(), "at": pa.timestamp("us")}),
        {"z": b"\xff", "at": _MOMENT},
        '{"at": "2020-01-02T03:04:05", "z": {"base64": "/w=="}}',
    ),
    "exif.iso": (pa.int32(), 100, 100),
    "exif/f": (pa.float32(), 2.5, 2.5),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A Parquet manifest of every type, a CSV that names an image of it too, and a directory."""
    place = tmp_path_factory.mktemp("columns")
    (place / "photos").mkdir()
    for number in range(4):
        images.write(place / "photos" / f"{number}.jpg", number)
    table = {
        name: pa.array([value, value, None], kind) for name, (kind, value, _) in _COLUMNS.items()
    }
    uris = [f"photos/{number}.jpg" for number in range(3)]
    columns = {"uri": pa.array(uris).dictionary_encode(), "label": ["p0", "p1", "p2"]}
    pq.write_table(pa.table(columns | table), place / "m.parquet")
    # By name it would come last.
    (place / "z.csv").write_text("uri,label,text\nphotos/0.jpg,z0,z\n")
    return place


@pytest.fixture(scope="module")
def run(place):
    inputs = [f"--input={place / name}" for name in ("m.parquet", "photos")]
    return datasets.extract(place / "z.csv", place / "out", "run", *inputs)


def names(uris):
    return [uri.rsplit("/", 1)[-1] for uri in uris]


def test_every_type_comes_through_to_each_reader(run):
    import tensorflow_datasets as tfds

    assert datasets.counts(run)[:3] == (4, 4, 0)
    arrays = reading.load_numpy(str(run))
    rows = dict(zip(names(arrays.uris), range(4), strict=True))
    for name, (kind, _, expected) in _COLUMNS.items():
        values = arrays.columns[name]
        assert values[rows["1.jpg"]] == expected, name
        assert type(values[rows["1.jpg"]]) is type(expected), name
        absent = [] if isinstance(expected, list) else None
        assert values[rows["2.jpg"]] == absent, name
        assert values[rows["3.jpg"]] == absent, kind
    tables = [reading.load(str(run)), tfds.builder_from_directory(str(run)).as_dataset("features")]
    for table in tables:
        for row in table:
            at = names([_of(row, "image/uri").numpy().decode()])[0]
            for name, values in arrays.columns.items():
                value = values[rows[at]]
                items = value if isinstance(value, list) else [] if value is None else [value]
                found = _of(row, name).numpy().tolist()
                assert [_text(item) for item in found] == [_text(item) for item in items], name


def _of(row, name):
    if name in row:
        return row[name]
    for part in name.split("/"):
        row = row[part]
    return row


def _text(item):
    return item.encode() if isinstance(item, str) else item


def test_of_several_rows_that_of_the_first_input_counts(place, run):
    inputs = [f"--input={place / name}" for name in ("z.csv", "photos")]
    other = datasets.extract(place / "m.parquet", place / "other", "run", *inputs)
    for directory, label, text in ((run, "z0", "z"), (other, "p0", "é")):
        arrays = reading.load_numpy(str(directory))
        row = names(arrays.uris).index("0.jpg")
        assert (arrays.columns["label"][row], arrays.columns["text"][row]) == (label, text)
        assert datasets.record_of(directory)["counts"]["duplicates"] == 4


def test_runs_of_other_columns_are_merged_and_extended(place, run):
    more = place / "more.csv"
    images.write(place / "photos" / "new.jpg", 9)
    more.write_text("uri,label\nphotos/new.jpg,5\n")
    datasets.extract(
        more, place / "out", "2", "--incremental", "--column_types=label:string,int8:int64?"
    )
    merged = datasets.compact(place / "out")
    arrays = reading.load_numpy(str(merged))
    values = dict(zip(names(arrays.uris), arrays.columns["int8"], strict=True))
    assert values == {"0.jpg": None, "1.jpg": -5, "2.jpg": None, "3.jpg": None, "new.jpg": None}
    assert sum(1 for _ in reading.load(str(place / "out"))) == 5


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ("lable:int64", "'lable', which no input has; did you mean 'label'?"),
        ("foo:string?", "'foo', which no input has; there are label, text."),
    ],
)
def test_a_declared_column_that_no_input_has_ends_the_launch(place, capsys, types, words):
    arguments = [f"--input={place / 'z.csv'}", f"--output={place / 'none'}", "--model=untrained"]
    assert cli.main(["extract", *arguments, f"--column_types={types}"]) == 2
    assert words in capsys.readouterr().err
