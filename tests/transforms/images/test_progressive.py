"""Scans of detail are left out where no pixel shows them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.jpeg import decode_scaled
from image_features.transforms.images.decoders.progressive import without_detail
from image_features.transforms.images.headers.jpeg import read_jpeg
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests.images import encode, gradient, noise

PREVIEW = DecodePolicy((24, 24), decode="preview")
FAST = dataclasses.replace(PREVIEW, decode="fast")


def eighth(data):
    return np.asarray(decode_scaled(data, read_jpeg(data), 8))


@pytest.mark.parametrize("size", [(320, 240), (317, 233), (8, 8), (2000, 1504), (1, 999)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"subsampling": i} for i in range(3)] + [{"quality": 30}])
@pytest.mark.parametrize("restarts", [{}, {"restart_marker_blocks": 7}])
def test_what_is_left_out_is_not_seen(size, mode, options, restarts):
    picture = noise(0, *size).convert(mode)
    data = encode(picture, progressive=True, **options, **restarts)
    small = without_detail(data, read_jpeg(data))
    assert (eighth(small) == eighth(data)).all()
    assert size[0] * size[1] < 10_000 or len(small) < len(data)


def test_other_files_are_as_they_are():
    picture = gradient(320, 240)
    scans = encode(picture, progressive=True)
    for data in (encode(picture), scans[:-100]):
        assert without_detail(data, read_jpeg(data)) is data
    with pytest.raises(DecodeError):
        decode_image(scans[:-100], PREVIEW)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damage_costs_no_row_that_a_fast_decode_gives(data):
    file = bytearray(_SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(2, len(file) - 3))
        file[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        decode_image(bytes(file), FAST)
    except DecodeError:
        return
    decode_image(bytes(file), PREVIEW)


_SOUND = encode(noise(2, 320, 240), progressive=True, quality=40)
