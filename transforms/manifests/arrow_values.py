"""Values of Arrow's arrays as a record can hold them.

Arrays are converted as a whole. Where that fails, each value is on its own: one that has no
spelling spoils no other. What a value becomes depends neither on the machine nor on whether pandas
is there, which pyarrow's own conversion looks for.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import itertools
import json
from collections.abc import Callable
from typing import Any

from image_features.transforms.archives.arrow import inner_types, is_list, is_text, stored_type
from image_features.transforms.manifests.rows import UNREADABLE

_EPOCH = datetime.datetime(1970, 1, 1)
_DAY_MICROSECONDS = 24 * 60 * 60 * 10**6
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A value that cannot be carried.

    Attributes:
      problem: What is wrong with it, as the end of "the column ...".
      value: What an errors shard says in its place; it fits no column, so that the row fails again
        when it is tried again.
    """

    problem: str
    value: Any = dataclasses.field(default_factory=lambda: UNREADABLE)


def values_of(array: Any) -> list[Any]:
    """Returns the values of an array; those that cannot be carried are `Unreadable`."""
    array = _storage(array)
    if is_list(array.type):
        return _lists(array, _scalars(array.flatten()))
    return _scalars(array, sort_keys=True)


def _storage(array: Any) -> Any:
    """Returns the array within extension types that give its values no spelling of their own."""
    import pyarrow as pa

    while isinstance(array.type, pa.BaseExtensionType):
        if array.type.extension_name in ("arrow.uuid", "arrow.bool8"):
            break
        array = array.storage
    return array


def _scalars(array: Any, *, sort_keys: bool = False) -> list[Any]:
    """Returns values that are no lists: a list within a list is JSON, as structs and maps are."""
    array = _storage(array)
    if not inner_types(array.type):
        return _leaves(array)
    return [
        value
        if value is None or isinstance(value, Unreadable)
        else json.dumps(value, sort_keys=sort_keys)
        for value in _json_values(array)
    ]


def _json_values(array: Any) -> list[Any]:
    """Returns values of which JSON can be made."""
    import pyarrow as pa
    import pyarrow.types as types

    array = _storage(array)
    if types.is_map(array.type):
        named = is_text(stored_type(array.type.key_type))
        array = array.cast(pa.list_(_entry_type(array.type)))
        entries = array.flatten()
        pairs = zip(_json_values(entries.field(0)), _json_values(entries.field(1)), strict=True)
        return [_entries(row, named=named) for row in _lists(array, list(pairs))]
    if is_list(array.type):
        return _lists(array, _json_values(array.flatten()))
    if types.is_struct(array.type):
        names = [array.type.field(index).name for index in range(array.type.num_fields)]
        fields = [_json_values(array.field(index)) for index in range(len(names))]
        valid = array.is_valid().to_pylist()
        return [
            _whole(dict(zip(names, row, strict=True)), row) if there else None
            for there, row in zip(valid, zip(*fields, strict=True), strict=True)
        ]
    return [
        {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for value in _leaves(array)
    ]


def _entry_type(type_: Any) -> Any:
    import pyarrow as pa

    return pa.struct([pa.field("key", type_.key_type, False), pa.field("value", type_.item_type)])


def _entries(pairs: list[Any] | None, *, named: bool) -> Any:
    """Returns a map as an object, or as a list of pairs where keys are not text."""
    if pairs is None:
        return None
    entries = _whole([list(pair) for pair in pairs], itertools.chain(*pairs))
    if not named or isinstance(entries, Unreadable):
        return entries
    found = dict(pairs)
    if len(found) < len(pairs):
        return Unreadable("holds a map that names a key twice")
    return found


def _lists(array: Any, items: list[Any]) -> list[Any]:
    """Divides the flattened items of an array of lists among its rows."""
    import pyarrow.compute as pc

    rows: list[Any] = []
    start = 0
    for size in pc.list_value_length(array).to_pylist():
        row = None if size is None else items[start : start + size]
        start += size or 0
        rows.append(row if row is None else _whole(row, row))
    return rows


def _whole(value: Any, parts: Any) -> Any:
    """Returns a value, or the first of its parts that cannot be read."""
    found = next((part for part in parts if isinstance(part, Unreadable)), None)
    return value if found is None else Unreadable(found.problem)


def _leaves(array: Any) -> list[Any]:
    """Returns the values of an array that is not nested."""
    import pyarrow as pa
    import pyarrow.types as types

    type_ = array.type
    if types.is_dictionary(type_):
        words = _scalars(array.dictionary)
        return [None if index is None else words[index] for index in array.indices.to_pylist()]
    if types.is_temporal(type_):
        bits = pa.int32() if type_.bit_width == 32 else pa.int64()
        return _spelled(array.view(bits), type_)
    if types.is_decimal(type_) or isinstance(type_, pa.BaseExtensionType):
        text = types.is_decimal(type_) or type_.extension_name == "arrow.uuid"
        return [str(v) if text and v is not None else v for v in array.to_pylist()]
    if types.is_float16(type_):
        # Older versions of pyarrow give NumPy's scalars.
        return [None if value is None else float(value) for value in array.to_pylist()]
    try:
        values: list[Any] = array.to_pylist()
        return values
    except UnicodeDecodeError:
        return [_text(value) for value in array.cast(_as_bytes(type_)).to_pylist()]


def _as_bytes(type_: Any) -> Any:
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_large_string(type_):
        return pa.large_binary()
    return pa.binary() if types.is_string(type_) else pa.binary_view()


def _text(value: bytes | None) -> str | Unreadable | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return Unreadable(f"holds {value!r:.80}, which is not UTF-8", value)


def _spelled(numbers: Any, type_: Any) -> list[Any]:
    spell, reach = _spelling(type_)
    values: list[Any] = []
    for number in numbers.to_pylist():
        try:
            values.append(None if number is None else spell(number))
        except (ValueError, OverflowError):
            values.append(Unreadable(f"holds {number} as {type_}, which is beyond {reach}"))
    return values


def _spelling(type_: Any) -> tuple[Callable[[int], str], str]:
    """Returns the function that spells a date or time as ISO 8601, or a duration; and its reach."""
    import pyarrow as pa
    import pyarrow.types as types

    years = "the years 1 to 9999"
    if types.is_date32(type_):
        return lambda days: (_EPOCH + datetime.timedelta(days)).date().isoformat(), years
    if types.is_date64(type_):
        return lambda ms: (_EPOCH + datetime.timedelta(milliseconds=ms)).date().isoformat(), years
    scale = _NANOSECONDS[type_.unit]
    if types.is_timestamp(type_):
        zone = pa.lib.string_to_tzinfo(type_.tz) if type_.tz else None
        return lambda number: _moment(*divmod(number * scale, 1000), zone), years
    if types.is_time(type_):
        return lambda number: _clock(*divmod(number * scale, 1000)), "a day"
    return lambda number: _duration(*divmod(number * scale, 1000)), "999999999 days"


def _moment(micros: int, nanos: int, zone: datetime.tzinfo | None) -> str:
    moment = _EPOCH + datetime.timedelta(microseconds=micros)
    if zone is not None:
        moment = moment.replace(tzinfo=datetime.UTC).astimezone(zone)
    if not nanos:
        return moment.isoformat()
    text = moment.isoformat(timespec="microseconds")
    end = text.index(".") + 7
    return f"{text[:end]}{nanos:03}{text[end:]}"


def _clock(micros: int, nanos: int) -> str:
    if not 0 <= micros < _DAY_MICROSECONDS:
        raise ValueError("not a time of a day")
    return _moment(micros, nanos, None).split("T")[1]


def _duration(micros: int, nanos: int) -> str:
    text = str(datetime.timedelta(microseconds=micros))
    if not nanos:
        return text
    return f"{text}{'' if '.' in text else '.000000'}{nanos:03}"
