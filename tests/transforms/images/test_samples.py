"""Samples of every depth become what the documented rules say."""

import numpy as np
import pytest

from image_features.transforms.images.decoders import samples
from image_features.transforms.images.decoders.samples import Range, to_eight_bits
from image_features.transforms.images.headers.header import Sample


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_white_is_what_the_bits_say(bits):
    white = 2**bits - 1
    values = np.array([[0, white // 2, white]], np.uint16)
    expected = [0, (white // 2 * 255 + white // 2) // white, 255]
    assert to_eight_bits(values, bits=bits).tolist() == [expected]
    inverted = to_eight_bits(values, bits=bits, white_is_zero=True)
    assert inverted.tolist() == [[255 - value for value in expected]]


def test_what_is_above_the_declared_white_is_white():
    assert to_eight_bits(np.array([[1024, 65535]], np.uint16), bits=10).tolist() == [[255, 255]]


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.int8), (16, np.int16)])
def test_the_lowest_signed_number_is_black(bits, dtype):
    values = np.array([[np.iinfo(dtype).min, 0, np.iinfo(dtype).max]], dtype)
    assert to_eight_bits(values, bits=bits, sample=Sample.SIGNED).tolist() == [[0, 128, 255]]


def test_wide_integers_within_16_bits_and_beyond():
    within = np.array([[0, 25700, 65535]])
    beyond = np.array([[0, 2**31, 2**32 - 1]])
    assert to_eight_bits(within.astype(np.uint32), bits=32).tolist() == [[0, 100, 255]]
    assert to_eight_bits(beyond.astype(np.uint32), bits=32).tolist() == [[0, 128, 255]]
    signed = to_eight_bits(np.array([[-128, 0, 128]]), bits=32, sample=Sample.SIGNED)
    assert signed.tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 200], [0, 100, 200]),
        ([-1000, 1000, 3000], [0, 128, 255]),
        ([np.nan, 0.5, 1], [128, 128, 255]),
        ([np.inf, -np.inf, 1, 0.5], [255, 128, 255, 128]),
        ([np.inf, -np.inf, np.nan], [0, 0, 0]),
        ([7000, 7000, 7000], [0, 0, 0]),
    ],
)
def test_floats(dtype, values, expected):
    bits = np.dtype(dtype).itemsize * 8
    seen = to_eight_bits(np.array([values], dtype), bits=bits, sample=Sample.FLOAT)
    assert seen.tolist() == [expected]


def test_the_largest_floats_there_are():
    most = np.finfo(np.float64).max
    values = np.array([[-most, 0, most]])
    assert to_eight_bits(values, bits=64, sample=Sample.FLOAT).tolist() == [[0, 128, 255]]


def test_parts_are_converted_as_the_whole():
    whole = np.arange(12.0).reshape(4, 3) * 100
    within = Range().widened(whole[:2]).widened(whole[2:])
    parts = [
        to_eight_bits(part, bits=32, sample=Sample.FLOAT, within=within)
        for part in (whole[:2], whole[2:])
    ]
    assert (np.concatenate(parts) == to_eight_bits(whole, bits=32, sample=Sample.FLOAT)).all()


def test_bands_are_converted_as_the_whole(monkeypatch):
    values = np.arange(5 * 4 * 3, dtype=np.uint16).reshape(5, 4, 3) * 1000
    whole = to_eight_bits(values, bits=16)
    monkeypatch.setattr(samples, "_BAND", 30)
    assert (to_eight_bits(values, bits=16) == whole).all()
    assert to_eight_bits(values[:0], bits=16).shape == (0, 4, 3)
