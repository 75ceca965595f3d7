"""Columns of JSON are what Python's json reads of each line, or are left alone."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from image_features.transforms.manifests.jsonl_columns import columns_of

ODD = [b'"', b'""', b"\\", b'\\"', b"\\\\", b",", b":", b"{", b"}", b"[", b"]", b"[]", b"{}"]
ODD += [b" ", b"\t", b"\n", b"\n\n", b"\1", b"0", b"1", b"-", b".", b"e9", b"null", b"NaN", b",1"]
ODD += [b'"a":1,', b'"a":"",', b',"a":1', b'{"a":1}', b"\\u0022", b"\\ud800", b"\\n", b"/", b"\x7f"]
names = st.lists(
    st.one_of(
        st.sampled_from(["uri", "a", "b", "", 'q"', "\\", "é", ":", ", "]), st.text(max_size=3)
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-9, 9), st.floats(), st.just(10**400)
)
texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters='"\\', min_codepoint=32), max_size=5),
    st.text(max_size=5),
    st.sampled_from(["", '"', "\\", '\\"', "\\\\", ", ", ": ", "}", '","', "\ud800", "\0", "\x7f"]),
)
nested = st.one_of(
    st.lists(st.integers(0, 3), max_size=2), st.dictionaries(texts, texts, max_size=1)
)


def rows_of(data):
    """Returns the pairs of the object in each line; None if one is something else."""
    found = []
    for line in data.split(b"\n"):
        try:
            pairs = json.loads(line.decode(), object_pairs_hook=tuple)
        except ValueError:
            return None
        if not isinstance(pairs, tuple) or len(dict(pairs)) < len(pairs):
            return None
        found.append(pairs)
    return found


def check(data):
    """Checks that columns hold what json reads, and returns whether there are any."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False  # Such lines do not come so far.
    columns = columns_of(data)
    if columns is None:
        return False
    values = [v if isinstance(v, list) else v.to_pylist() for v in columns.values()]
    rows = [tuple(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    # That is so of what is not a number, too, and tells integers from floats and booleans.
    assert repr(rows) == repr(rows_of(data))
    return True


def written(rows, *, separators=(", ", ": "), ascii=True):
    lines = [json.dumps(row, separators=separators, ensure_ascii=ascii) for row in rows]
    return "\n".join(lines).encode(errors="replace")


@given(
    names=names,
    values=st.data(),
    kinds=st.lists(
        st.sampled_from([scalars, texts, texts, scalars, nested]), min_size=4, max_size=4
    ),
    rows=st.integers(1, 6),
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" , ", "  : ")]),
    ascii=st.booleans(),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2), st.sampled_from(ODD)), max_size=2),
)
def test_columns_are_what_json_reads(names, values, kinds, rows, separators, ascii, cuts):
    objects = st.fixed_dictionaries(dict(zip(names, kinds, strict=False)))
    data = written([values.draw(objects) for _ in range(rows)], separators=separators, ascii=ascii)
    for place, dropped, odd in cuts:
        at = int(place * len(data))
        data = data[:at] + odd + data[at + dropped :]
    check(data)


@given(st.lists(st.tuples(texts, scalars, texts, scalars), min_size=1))
@example([('"', 1, "\\", 1.0)] * 3)
def test_lines_of_one_writer_are_alike(rows):
    rows = [dict(zip("abcd", row, strict=True)) for row in rows]
    for separators, ascii in itertools.product([(", ", ": "), (",", ":")], [True, False]):
        assert check(written(rows, separators=separators, ascii=ascii))


@pytest.mark.parametrize(
    "line",
    [
        b'{"uri": "a.jpg", "n": 1}',
        b'{"n":-1.5e3,"uri":"x\\"y"}',
        b'{"a":null}',
        b' { "u" : "" , "v" : true } ',
    ],
)
def test_every_small_damage_is_seen(line):
    whole = b"\n".join([line, line.replace(b"1", b"23"), line])
    assert check(whole)
    taken = 0
    for at, dropped, odd in itertools.product(range(len(whole)), range(3), [b"", *ODD]):
        taken += check(whole[:at] + odd + whole[at + dropped :])
    assert taken > 10


@pytest.mark.parametrize(
    "values",
    [
        ["0", "[1", "2]"],
        ["0", "1, 2", "[3", "4]"],
        ["0", "1 2"],
        ["0", "[]]", "[3"],
        ["0", "1}, {", "2"],
        ["0", ""],
    ],
)
def test_values_that_are_sound_only_together_are_left_alone(values):
    for line in ('{"uri": "a.jpg", "n": %s, "m": 7}', '{"uri": "a.jpg", "n": %s}'):
        data = "\n".join(line % value for value in values)
        assert columns_of(data.encode()) is None
        assert columns_of("\n".join(line % value for value in values[:1] * 3).encode())


@pytest.mark.parametrize(
    "lines",
    [
        ['{"uri": "a.jpg", "uri": "a.jpg"}'] * 2,
        ['{"a" : 1 , "uri" : "a.jpg"}', '{"a" : , "uri" : "a.jpg"}'],
        ['{"a": 1, "uri": "a.jpg"}', '{"b": 1, "uri": "a.jpg"}'],
        ['{"a": 1, "uri": "a.jpg"}', '{"a": 1, "uri": "a.jpg"'],
        ['{"uri": "a.jpg"}', '{"uri": "a.jpg", "uri": "b.jpg"}'],
        ['{"uri": "a.jpg"}', '{"uri": "a.jpg"}{"uri": "a.jpg"}'],
        ['{"uri": "a.jpg"}', '{"uri": "a\\.jpg"}'],
        ['{"uri": "a.jpg"}', '{"uri": "a\t.jpg"}'],
        ['{"uri": "a.jpg"}', "", '{"uri": "a.jpg"}'],
        ['{"uri": "a.jpg"}', '["uri", "a.jpg"]'],
        ['["uri", "a.jpg"]'] * 2,
        ['{"uri": {"base64": ""}}'] * 2,
        ["{}"] * 2,
        ["1"] * 2,
        [""] * 2,
    ],
)
def test_other_lines_are_left_alone(lines):
    assert columns_of("\n".join(lines).encode()) is None
