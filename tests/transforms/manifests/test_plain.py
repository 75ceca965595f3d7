"""What is told of whole columns is what is told of each value."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_features.transforms.manifests import plain_lines, quotes
from image_features.transforms.manifests.fitting import fit_any
from image_features.transforms.manifests.lines import count_ends
from image_features.transforms.manifests.plain import Plainly
from image_features.transforms.manifests.plain_text import PlainTexts
from image_features.transforms.manifests.plain_uris import MAX_URI, keys_of, plain_uris
from image_features.transforms.manifests.plain_versions import versions_of
from image_features.transforms.manifests.quotes import are_plain_quotes
from image_features.transforms.stores import versions
from image_features.transforms.stores.uris import canonical_uri

OFTEN = settings(deadline=None, max_examples=200)
_SPACES = [" ", "\t", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u200b", "\x7f", "\0"]
PIECES = st.sampled_from(
    ["a", "1", "é", "\U0001f5bc", *"/!?#@:", "!/", "./", ".jpg", ".tar", ".ZIP", *_SPACES]
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)
BEGINNINGS = st.sampled_from(["", "/", "https://h/", "http://h/", "gs://b/", "HTTP://h/"])
URIS = st.builds("{}{}".format, BEGINNINGS, TEXTS)


@OFTEN
@given(
    st.lists(
        st.none() | TEXTS | st.sampled_from(["x" * 249, "x" * 250, "é" * 130, "2026-01-01 00:00"]),
        max_size=6,
    ),
    st.integers(0, 3),
)
@example(["a", None, "", "b"], 0)
def test_versions_are_those_of_each_value(values, cut):
    expected = [versions.of_column(value) for value in values]
    assert versions_of(values).to_pylist() == expected
    for type_ in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        found = versions_of(pa.array(values, type_).slice(cut))
        assert (found.type, found.to_pylist()) == (pa.string(), expected[cut:])


@pytest.mark.parametrize(
    "array",
    [
        pa.array([0, -1, None, 2**63 - 1]),
        pa.array([2**64 - 1, None], pa.uint64()),
        pa.array([1.0, float("nan"), None, 1e300]),
        pa.array([True, None]),
        pa.array([b"\xff", b"a", None]),
        pa.array([b"a", b"\xff"]).view(pa.string()),
    ],
)
def test_versions_of_other_types_are_those_of_each_value(array):
    from image_features.transforms.manifests.arrow_values import values_of

    expected = [versions.of_column(value) for value in values_of(array)]
    assert versions_of(array).to_pylist() == expected


@OFTEN
@given(
    st.lists(URIS, max_size=6), st.integers(0, 3), st.sampled_from(["/m/a.csv", "https://h/m.csv"])
)
@example(["/a", "/" + "x" * MAX_URI], 0, "/m/a.csv")
@example(["/a!", "/b"], 0, "/m/a.csv")
def test_uris_of_an_array_are_those_of_a_list(uris, cut, location):
    array = pa.array(uris, pa.string()).slice(cut)
    uris = uris[cut:]
    numbers = np.arange(len(uris))
    told = {"n": list(range(len(uris)))}
    plainly = Plainly(location, {}, None)
    assert plainly.rows(numbers, array, told, fit_any) is None  # There is no such column.
    found, expected = (plainly.rows(numbers, rows, {}, fit_any) for rows in (array, uris))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.uris.to_pylist() == expected.uris.to_pylist()
        assert found.keys == expected.keys
    encoded = plain_uris(array)
    if encoded is not None:
        assert [uri.decode() for uri in encoded] == uris == list(map(canonical_uri, uris))
        assert all(uri == uri.strip() for uri in uris)


@given(st.lists(st.binary(max_size=3), max_size=5))
def test_keys_are_the_beginnings_of_hashes(encoded):
    expected = b"".join(hashlib.sha256(uri).digest()[:16] for uri in encoded)
    assert keys_of(encoded) == expected


@OFTEN
@given(st.lists(TEXTS, max_size=5), st.integers(0, 3))
def test_texts_are_told_apart_within_a_larger_array(texts, cut):
    array = pa.array(texts, pa.string()).slice(cut)
    found = PlainTexts.of(array)
    assert (found is None) == (not len(array))
    if found is not None:
        encoded = [text.encode() for text in texts[cut:]]
        assert found.encoded() == encoded
        assert found.lengths.tolist() == list(map(len, encoded))
        assert found.as_one().to_pylist() == ["".join(texts[cut:])]
        assert not found.are_stripped() or all(text == text.strip() for text in texts[cut:])
    assert PlainTexts.of(pa.array([*texts, None], pa.string())) is None


def test_most_uris_need_no_objects():
    uris = [f"https://images.example.com/photos/{number:06}.jpg" for number in range(1000)]
    assert plain_uris(pa.array(uris)) == [uri.encode() for uri in uris]


LINES = st.lists(st.sampled_from(['"', '""', ",", "\n", "\n\n", "#", "a", "é"]), max_size=12)


@settings(deadline=None, max_examples=500)
@given(LINES.map("".join))
@example("")
@example('"')
@example('""')
@example('"a\n"')
def test_quotes_are_plain_where_no_line_is_odd(text):
    data = text.encode()
    assert are_plain_quotes(data, ",") == (not len(quotes._odd_lines(data, ",")))


@OFTEN
@given(LINES.map("".join))
@example("")
@example("\n")
def test_lines_are_told_by_their_first_bytes(text):
    first = plain_lines._first_bytes(text.encode()).tolist()
    assert first == [(line.encode() or b"\n")[0] for line in text.split("\n")]
    assert count_ends(text.encode()) == text.count("\n")
