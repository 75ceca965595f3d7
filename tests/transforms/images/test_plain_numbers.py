"""Numbers of plain text, wherever the blocks end in which they are read."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders import plain_numbers as module
from image_features.transforms.images.decoders.plain_numbers import plain_bits, plain_numbers

spaces = st.sampled_from([" ", "\n", "\t", "\r\n", "  ", " #7 x\n", "#\r", " #\n#8\n"])
numbers = st.lists(st.tuples(st.integers(0, 9_999_999_999), st.integers(0, 3), spaces))


@pytest.fixture(params=[11, 16, 23, 2**20])
def block(request, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@settings(deadline=None, max_examples=40)
@given(numbers)
def test_numbers_among_spaces_and_comments(written):
    text, expected = "P2 ", []
    for number, zeros, space in written:
        word = f"{number}".rjust(min(10, len(f"{number}") + zeros), "0")
        text, expected = text + word + space, [*expected, number]
    assert [n for part in plain_numbers(text.encode(), 3) for n in part.tolist()] == expected
    assert [n for part in plain_numbers(text.rstrip().encode(), 3) for n in part.tolist()] == (
        expected
    )


@pytest.mark.usefixtures("block")
def test_bits_need_no_spaces():
    text = b"0110 #1\n1" * 20
    assert b"".join(part.tobytes() for part in plain_bits(text, 0)) == b"\0\1\1\0\1" * 20


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("garbage", [b"x", b"-1", b"1.5", b"12a", b"\0", b"\xff", b"1" * 11])
def test_what_comes_before_garbage_is_read(garbage):
    seen = []
    with pytest.raises(DecodeError):
        for part in plain_numbers(b"1 22 333 " * 5 + garbage + b" 4444 ", 0):
            seen += part.tolist()
    # A number that is too long spoils the block that it is in.
    assert seen == [1, 22, 333] * 5 or garbage == b"1" * 11


def test_millions_of_numbers_take_a_moment():
    text = b"7 65535\n123 #\n" * 500_000
    start = time.process_time()
    total = sum(int(part.sum()) for part in plain_numbers(text, 0))
    assert total == 500_000 * (7 + 65535 + 123)
    assert time.process_time() - start < 4
    assert np.concatenate(list(plain_numbers(text, 0))).size == 1_500_000
