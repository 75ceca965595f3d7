"""Every type of Arrow, by random values: each comes back, or its row alone fails."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.manifests.tables import read

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


# pyarrow itself loses items of lists of nothing but nulls when it flattens what is around them.
TYPES = st.sampled_from([pa.null(), pa.list_(pa.null())]) | st.recursive(
    st.sampled_from([type_ for type_ in _LEAVES if not pa.types.is_null(type_)]),
    nested,
    max_leaves=2,
)


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
