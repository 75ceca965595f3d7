"""Columns of Parquet: each value comes back as it was, or its row alone is an error."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import math
import re
import subprocess
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from image_features.errors import ImageFeaturesError
from image_features.transforms.manifests.columns import Column, ColumnError, Kind, conform
from image_features.transforms.manifests.parquet import parquet_columns, read_parquet
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.stores.http import HttpPolicy

_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_INT64 = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
_LEAVES = {
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float16(): st.floats(width=16, allow_nan=False),
    pa.float64(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): _TEXT,
    pa.large_string(): _TEXT,
    pa.string_view(): _TEXT,
    pa.dictionary(pa.int32(), pa.string()): _TEXT,
    pa.binary(): st.binary(max_size=3),
    pa.binary(2): st.binary(min_size=2, max_size=2),
    pa.binary_view(): st.binary(max_size=3),
    pa.decimal128(9, 2): st.decimals(-1000, 1000, places=2),
    pa.date32(): st.integers(-(2**31), 2**31 - 1) | st.integers(-99999, 99999),
    pa.time32("ms"): st.integers(0, 86_399_999),
    pa.time64("ns"): st.integers(0, 86_400 * 10**9 - 1),
    pa.null(): st.none(),
} | {
    make(unit): _INT64 | st.integers(-(10**12), 10**12)
    for unit in _UNITS
    for make in (pa.timestamp, pa.duration, lambda unit: pa.timestamp(unit, "America/New_York"))
}


def values_of(type_):
    """Values of a type, nulls among them."""
    if pa.types.is_map(type_):
        keys, items = values_of(type_.key_type), values_of(type_.item_type)
        pairs = st.lists(st.tuples(keys.filter(lambda key: key is not None), items), max_size=2)
        return st.none() | pairs
    if pa.types.is_struct(type_):
        fields = [type_.field(place) for place in range(type_.num_fields)]
        return st.none() | st.fixed_dictionaries({f.name: values_of(f.type) for f in fields})
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        return st.none() | st.lists(values_of(type_.value_type), min_size=size, max_size=size)
    if type_ not in _LEAVES:
        return st.none() | st.lists(values_of(type_.value_type), max_size=3)
    return st.none() | _LEAVES[type_]


def nested(inner):
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(pa.list_view),
        inner.map(lambda type_: pa.list_(type_, 2)),
        inner.map(lambda type_: pa.map_(pa.string(), type_)),
        inner.map(lambda type_: pa.struct({"a": type_, "b.c": pa.int8()})),
    )


TYPES = st.recursive(st.sampled_from(list(_LEAVES)), nested, max_leaves=2)


def read(table):
    """The rows of a table as a manifest in Parquet, each with its columns as a record has them."""
    file = io.BytesIO()
    try:
        pq.write_table(table, file)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        reject()  # Arrow has more types and values than it can write.
    rows = list(read_parquet(file, "m.parquet", None))
    assert len(rows) == len(table)
    return rows


def columns_of(path, table):
    pq.write_table(table, path)
    return parquet_columns(str(path), http=HttpPolicy())[0]


def is_bad(type_, value):
    """Whether a value cannot be carried."""
    if value is None:
        return False
    if pa.types.is_map(type_):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(is_bad(type_.item_type, v) for _, v in value)
    if pa.types.is_struct(type_):
        return any(is_bad(type_.field(name).type, item) for name, item in value.items())
    if isinstance(value, list):
        return any(is_bad(type_.value_type, item) for item in value)
    if pa.types.is_date(type_):
        return not -719162 <= value <= 2932896
    if pa.types.is_timestamp(type_):
        # Long ago, New York was four hours, 56 minutes and two seconds behind.
        behind = 17_762 if type_.tz else 0
        return not -62135596800 + behind <= value * _UNITS[type_.unit] // 10**9 <= 253402300799
    if pa.types.is_duration(type_):
        return not abs(value * _UNITS[type_.unit]) < 86_400 * 10**9 * 999_999_999
    return False


def nanoseconds(text):
    """The time that a text tells, as a number."""
    moment = datetime.datetime.fromisoformat(text[:19] + text[19:].lstrip(".0123456789"))
    moment = moment.replace(tzinfo=moment.tzinfo or datetime.UTC)
    fraction = text[20:29].split("-")[0].split("+")[0] if text[19:20] == "." else ""
    seconds = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // (
        datetime.timedelta(seconds=1)
    )
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


def check(type_, value, found):
    """Compares a value with what came of it: lists are lists, and what is in them is JSON."""
    if value is not None and is_list(type_):
        for item, one in zip(value, found, strict=True):
            check_item(type_.value_type, item, one)
    else:
        check_item(type_, value, found)


def check_item(type_, value, found):
    if value is not None and (pa.types.is_nested(type_)):
        check_nested(type_, value, json.loads(found))
    elif value is None:
        assert found is None
    else:
        check_leaf(type_, value, found)


def is_list(type_):
    return pa.types.is_nested(type_) and not (pa.types.is_struct(type_) or pa.types.is_map(type_))


def check_nested(type_, value, found):
    if value is None:
        assert found is None
    elif pa.types.is_map(type_):
        assert found.keys() == {key for key, _ in value}
        for key, item in value:
            check_nested(type_.item_type, item, found[key])
    elif pa.types.is_struct(type_):
        assert found.keys() == value.keys()
        for name, item in value.items():
            check_nested(type_.field(name).type, item, found[name])
    elif is_list(type_):
        for item, one in zip(value, found, strict=True):
            check_nested(type_.value_type, item, one)
    elif isinstance(value, bytes):
        assert base64.b64decode(found["base64"]) == value
    else:
        check_leaf(type_, value, found)


def check_leaf(type_, value, found):
    if pa.types.is_timestamp(type_):
        assert nanoseconds(found) == value * _UNITS[type_.unit]
        assert bool(type_.tz) == bool(re.search(r"[+-]\d\d:\d\d", found[19:]))
    elif pa.types.is_time(type_):
        assert nanoseconds(f"1970-01-01T{found}") == value * _UNITS[type_.unit]
    elif pa.types.is_date(type_):
        assert datetime.date.fromisoformat(found) - datetime.date(1970, 1, 1) == (
            datetime.timedelta(value)
        )
    elif pa.types.is_duration(type_):
        days, _, clock = found.rpartition(" day")
        time = clock.removeprefix("s").removeprefix(", ")
        hours, rest = (time if days else found).split(":", 1)
        spent = nanoseconds(f"1970-01-01T{hours:0>2}:{rest}")
        assert int(days or 0) * 86_400 * 10**9 + spent == value * _UNITS[type_.unit]
    elif pa.types.is_decimal(type_):
        assert decimal.Decimal(found) == value
    else:
        assert found == value
        assert type(found) is type(value)
        assert not isinstance(value, float) or math.copysign(1, found) == math.copysign(1, value)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_each_value_comes_back_or_its_row_alone_fails(data):
    type_ = data.draw(TYPES)
    values = data.draw(st.lists(values_of(type_), min_size=1, max_size=4))
    uris = [f"{number}.jpg" for number in range(len(values))]
    table = pa.table({"x": pa.array(values, type_), "n": range(len(values)), "uri": uris})
    for number, (value, row) in enumerate(zip(values, read(table), strict=True)):
        assert row.uri == uris[number]
        assert row.values["n"] == number
        assert bool(row.problem) == is_bad(type_, value), row
        if not row.problem:
            check(type_, value, row.values["x"])


def named(count):
    return [f"{number}.jpg" for number in range(count)]


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


def test_a_damaged_footer_ends_in_a_sentence(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": named(2), "x": range(2)}), path, row_group_size=1)
    # It is another process, since pyarrow would end it.
    run = subprocess.run([sys.executable, "-c", _DAMAGE, path, "3"], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "told"), run.stderr[-1000:]


_DAMAGE = """
import sys
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import examine
from image_features.transforms.stores.http import HttpPolicy
path, bits = sys.argv[1], map(int, sys.argv[2:])
whole = open(path, "rb").read()
begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
told = ""
for bit in bits:
    for place in range(begin, len(whole) - 8):
        data = bytearray(whole)
        data[place] ^= 1 << bit
        with open(path, "wb") as file:
            file.write(data)
        try:
            examine(find_sources([path]), uri_column=None, declared={}, http=HttpPolicy())
        except ValueError as error:
            assert path in str(error), error
            told = "told" if "footer is damaged" in str(error) else told
print(told)
"""


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table({"uri": named(9000), "x": range(9000)})
    pq.write_table(table, path, compression="none", write_page_checksum=True, row_group_size=4500)
    data = bytearray(path.read_bytes())
    data[data.index(b"8999.jpg")] ^= 1
    path.write_bytes(data)
    assert issubclass(ManifestError, ImageFeaturesError)  # It is told without a traceback.
    rows = list(read_parquet(io.BytesIO(data), str(path), None))
    assert [row.number for row in rows] == list(range(1, 9001))
    assert [row.uri for row in rows[:4500]] == named(4500)
    # Nobody knows which rows of the second group are sound.
    assert all("group of rows that is damaged" in row.problem for row in rows[4500:])
    assert all(row.unread for row in rows[4500:])
    data[data.index(b"10.jpg")] ^= 1
    with pytest.raises(ManifestError, match=r"m.parquet cannot be read"):
        list(read_parquet(io.BytesIO(data), str(path), None))
    for broken in (data[:100], data[:-100], data[:-4] + b"PARE", b"", b"PAR1"):
        path.write_bytes(broken)
        with pytest.raises(ManifestError, match=r"m.parquet cannot be read as Parquet"):
            parquet_columns(str(path), http=HttpPolicy())
