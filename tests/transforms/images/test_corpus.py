"""Every sample has its golden pixels or its reason, and every row of the table has a sample."""

import numpy as np
import pytest

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.table import RULES, rule_for
from tests.images.corpus import corpus


@pytest.mark.parametrize("sample", corpus(), ids=str)
def test_golden_pixels(sample):
    if not isinstance(sample.expected, np.ndarray):
        with pytest.raises(DecodeError) as caught:
            decode_image(sample.data, DecodePolicy((16, 16)))
        assert caught.value.reason is sample.expected, caught.value.message
        return
    height, width, _ = sample.expected.shape
    seen = decode_image(sample.data, DecodePolicy((height, width), decode="exact"))
    assert (seen.width, seen.height) == (width, height)
    difference = np.abs(seen.pixels.astype(int) - sample.expected)
    assert difference.max() <= sample.tolerance, (seen.pixels[0, :4], sample.expected[0, :4])


def test_every_row_of_the_table_has_a_sample():
    seen = set()
    for sample in corpus():
        if isinstance(sample.expected, np.ndarray):
            seen.add(rule_for(read_header(sample.data)))
    assert set(RULES) <= seen
