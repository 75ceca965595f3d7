"""Run lengths of bitmaps: the same pixels as by their definition, in bounded memory."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.rle import decode_runs
from image_features.transforms.values import Reason


def by_definition(codes, width, height, bits):
    """Goes over the codes pixel by pixel, as Microsoft's description says."""
    pixels, x, y, position = {}, 0, 0, 0
    while position + 1 < len(codes):
        count, value = codes[position : position + 2]
        position += 2
        if count == 0 and value < 3:
            if value == 0:
                x, y = 0, y + 1
            elif value == 1:
                break
            else:
                x, y, position = x + codes[position], y + codes[position + 1], position + 2
            continue
        if count:
            run = [value] * count if bits == 8 else [value >> 4, value & 15] * 128
        else:
            count, size = value, (value * bits + 7) // 8
            data = codes[position : position + size]
            run = data if bits == 8 else [half for byte in data for half in (byte >> 4, byte & 15)]
            position += size + size % 2
        pixels |= {(x + i, y): run[i] for i in range(count) if x + i < width}
        x = min(x + count, width)
    return bytes(pixels.get((x, y), 0) for y in range(height) for x in range(width))


runs = st.tuples(st.integers(1, 30), st.integers(0, 255)).map(bytes)
absolutes = st.binary(min_size=3, max_size=20).map(
    lambda data: bytes([0, len(data)]) + data + bytes(len(data) % 2)
)
nibbles = st.tuples(st.integers(3, 20), st.binary(min_size=12, max_size=12)).map(
    lambda pair: bytes([0, pair[0]]) + pair[1][: (pair[0] + 3) // 4 * 2]
)
deltas = st.integers(0, 3).map(lambda across: bytes([0, 2, across, 0]))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from((4, 8)), st.integers(20, 60))
def test_runs_are_what_their_definition_says(data, bits, width):
    one = st.one_of(runs, absolutes if bits == 8 else nibbles)
    rows = data.draw(st.lists(st.lists(one, max_size=25), min_size=1, max_size=4))
    skip = data.draw(deltas)
    codes = b"".join(skip + b"".join(row) + b"\0\0" for row in rows) + b"\0\1"
    seen, told = decode_runs(b"head" + codes, 4, width, len(rows), bits=bits, lenient=False)
    assert bytes(seen) == by_definition(codes, width, len(rows), bits)
    assert told == len(seen)


@pytest.mark.parametrize("codes", [b"\0\2\xff\xff\0\1", b"\0\2\xff\0" * 4000])
def test_skipped_pixels_take_no_memory(codes):
    tracemalloc.start()
    with pytest.raises(DecodeError) as caught:
        decode_runs(codes, 0, 1_000_000, 2, bits=8, lenient=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.reason is Reason.CORRUPT
    assert peak < 2_200_000


def test_runs_too_long_for_their_row_take_no_memory():
    tracemalloc.start()
    seen, told = decode_runs(b"\xff\7" * 100_000 + b"\0\1", 0, 10, 2, bits=8, lenient=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (bytes(seen), told) == (b"\7" * 10 + b"\0" * 10, 20)
    assert peak < 4_000_000


def test_the_part_that_there_is():
    cut = b"\4\1\0\0\2\2"
    with pytest.raises(DecodeError) as caught:
        decode_runs(cut, 0, 4, 3, bits=8, lenient=False)
    assert caught.value.reason is Reason.TRUNCATED
    seen, told = decode_runs(cut, 0, 4, 3, bits=8, lenient=True)
    assert (bytes(seen), told) == (b"\1\1\1\1\2\2\0\0\0\0\0\0", 6)
