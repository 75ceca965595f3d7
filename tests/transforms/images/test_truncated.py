"""`--allow_truncated` gives the same pixels with any number of threads, and harms no neighbour."""

import functools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import ImageFile

from image_features.transforms.images.children import end_children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests import images

STRICT = DecodePolicy((16, 16))
LENIENT = DecodePolicy((16, 16), allow_truncated=True)


@functools.cache
def files():
    """Three hundred files in any order: sound ones, and some that end early."""
    drawn = random.Random(0)
    found = []
    for number in range(300):
        format = ("JPEG", "PNG", "GIF", "TIFF", "BMP")[number % 5]
        data = images.encode(images.noise(number), format)
        whole = drawn.random() < 0.5
        found.append(data if whole else data[: int(len(data) * drawn.uniform(0.5, 0.95))])
    return tuple(found)


def outcome(data, policy):
    try:
        return decode_image(data, policy).pixels.tobytes()
    except DecodeError as error:
        return error.reason, error.message


@functools.cache
def alone():
    """What each file gives to a single thread, leniently and strictly."""
    found = [(outcome(data, LENIENT), outcome(data, STRICT)) for data in files()]
    end_children()
    return found


@pytest.mark.parametrize("threads", [1, 2, 4, 8])
def test_pixels_do_not_depend_on_threads(threads):
    def work(number):
        # Strict and lenient policies may be in one process, as of two pipelines.
        seen = outcome(files()[number], LENIENT), outcome(files()[number], STRICT)
        return seen, ImageFile.LOAD_TRUNCATED_IMAGES

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, range(len(files()))))
    end_children()
    assert [seen for seen, _ in results] == alone()
    assert not any(flag for _, flag in results)
    lenient, strict = zip(*alone(), strict=True)
    assert 100 < sum(isinstance(seen, bytes) for seen in strict) < 200
    assert sum(isinstance(seen, bytes) for seen in lenient) > 250
