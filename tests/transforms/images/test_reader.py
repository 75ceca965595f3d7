import numpy as np

from image_features.transforms.images.fetcher import FetchPolicy
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.reader import ImageReader
from image_features.transforms.values import ImageError, ImageRef, Reason, Stage
from tests import images


def test_an_image_is_fetched_and_decoded_and_failures_say_where(tmp_path):
    data = images.encode(images.noise(1))
    (tmp_path / "good.png").write_bytes(data)
    (tmp_path / "bad.png").write_bytes(b"no image")
    policy = DecodePolicy((8, 8))
    with ImageReader(decode=policy, fetch=FetchPolicy()) as reader:
        good, bad, absent = (
            reader.read(ImageRef(str(tmp_path / name), "")) for name in ("good.png", "bad.png", "x")
        )
    expected = decode_image(data, policy)
    assert (good.format, good.width, good.height) == (
        expected.format,
        expected.width,
        expected.height,
    )
    np.testing.assert_array_equal(good.pixels, expected.pixels)
    assert isinstance(bad, ImageError) and isinstance(absent, ImageError)
    assert (bad.stage, bad.reason) == (Stage.DECODE, Reason.NOT_AN_IMAGE)
    assert (absent.stage, absent.reason) == (Stage.FETCH, Reason.NOT_FOUND)
