"""Examples without their images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.archives import divided_example
from image_features.transforms.archives.divided_example import divide_example
from image_features.transforms.archives.example import NotAnExampleError, parse_features
from tests.transforms.archives.examples import example, of_bytes

NAMES = st.sampled_from(["image", "im", "", "a/b", "ä"])
VALUES = st.lists(st.binary(max_size=300), max_size=2)


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divided_example, "_LEAST_BYTES", 0)
        yield


def field(data, tag=b"\x0a"):
    return tag + bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data


def name_field(name, *, is_odd):
    data = name.encode()
    return field(data) if is_odd else b"\x0a" + bytes([len(data)]) + data


# Most lengths take two bytes here even where they need one, which is odd, and means the same.
ENTRIES = st.tuples(
    st.builds(name_field, NAMES, is_odd=st.sampled_from([False, False, True])),
    st.one_of(
        VALUES.map(lambda values: field(field(b"".join(map(field, values))), b"\x12")),
        st.just(field(field(b"\x08\x01", b"\x1a"), b"\x12")),  # A number.
    ),
).map(lambda parts: field(b"".join(parts)))
EXAMPLES = st.lists(st.lists(ENTRIES, max_size=4), max_size=2).map(
    lambda several: b"".join(field(b"".join(entries)) for entries in several)
)


def plainly(data):
    try:
        return dict(parse_features(data))
    except NotAnExampleError as error:
        return str(error)


def divided(data, feature):
    try:
        features, image = divide_example(data, feature)
    except NotAnExampleError as error:
        return str(error), None
    return dict(features), None if image is None else data[image]


def check(data, feature):
    whole, (found, image) = plainly(data), divided(data, feature)
    if image is None:
        assert found == whole
    else:
        assert list(whole.pop(feature).bytes_list.value) == [image] and found == whole


@given(EXAMPLES, NAMES)
def test_any_example_has_the_features_that_protobuf_finds(data, feature):
    check(data, feature)


@given(EXAMPLES, NAMES, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
def test_so_has_whatever_becomes_of_it(data, feature, at, new, lost):
    check(data[:at] + new + data[at + lost :], feature)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 40_000, 3_000_000])
def test_an_image_is_apart_that_is_written_as_almost_all_are(size):
    image = bytes(size)
    data = example(of_bytes("image", image), of_bytes("label", b"cat"))
    check(data, "image")
    assert divided(data, "image")[1] == image


@pytest.mark.parametrize("feature", ["", "label", "\ud800"])
def test_what_is_not_there_is_not_apart(feature):
    data = example(of_bytes("image", bytes(10)))
    assert divide_example(data, feature).image is None
