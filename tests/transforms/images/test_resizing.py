"""Resized pixels are those of the libraries that models were trained with."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import INTERPOLATIONS, DecodePolicy
from image_features.transforms.images.resizing import resize
from tests import images
from tests.images import profiles

KERNELS = ("bilinear", "bicubic", "lanczos")
# Every filter there is, and whether it is antialiased.
FILTERS = [(name, True) for name in INTERPOLATIONS] + [(name, False) for name in KERNELS]
MODES = ("stretch", "center_crop", "pad")
# (height, width) of an image and of the result: smaller, larger, both, equal, of one pixel.
SIZES = [
    ((100, 133), (37, 53)),
    ((375, 500), (96, 96)),
    ((20, 31), (64, 65)),
    ((9, 300), (50, 50)),
    ((300, 9), (50, 50)),
    ((48, 64), (48, 64)),
    ((1, 1), (5, 7)),
    ((2, 3), (7, 1)),
]
sides = st.integers(1, 70)
sizes = st.tuples(sides, sides)
filters = st.sampled_from(FILTERS)


def resized(pixels, size, interpolation, antialias=True, **options):
    policy = DecodePolicy(size, interpolation=interpolation, antialias=antialias, **options)
    return np.asarray(resize(Image.fromarray(pixels), size, policy))


@functools.cache
def noise(height, width, low=0, high=256):
    return np.random.default_rng(0).integers(low, high, (height, width, 3)).astype(np.uint8)


def by_tensorflow(pixels, size, interpolation, antialias):
    import tensorflow as tf

    method = {"lanczos": "lanczos3"}.get(interpolation, interpolation)
    floats = tf.image.resize(pixels, size, method=method, antialias=antialias).numpy()
    return np.clip(floats, 0, 255)


@pytest.mark.parametrize(("source", "size"), SIZES)
@pytest.mark.parametrize("interpolation", [*KERNELS, "area"])
def test_without_antialias_pixels_are_those_of_tensorflow(source, size, interpolation):
    pixels = noise(*source)
    antialias = interpolation == "area"  # TensorFlow's always is, and asks for nothing.
    ours = resized(pixels, size, interpolation, antialias)
    # Rounding takes a half; TensorFlow's bicubic looks its weights up in a table of 1024.
    theirs = by_tensorflow(pixels, size, interpolation, antialias=False)
    assert abs(ours - theirs).max() <= (0.75 if interpolation == "bicubic" else 0.55)


@pytest.mark.parametrize(("source", "size"), SIZES)
@pytest.mark.parametrize("interpolation", KERNELS)
def test_antialiased_pixels_are_those_of_pillow_and_tensorflow(source, size, interpolation):
    pixels = noise(*source, 90, 166)  # Beyond white and black Pillow cuts off twice.
    ours = resized(pixels, size, interpolation)
    pillow = Image.fromarray(pixels).resize(
        size[::-1], getattr(Image.Resampling, interpolation.upper())
    )
    assert (ours == np.asarray(pillow)).all()
    # Pillow rounds its rows too: by a half, times as much as weights with negative ones add up to.
    theirs = by_tensorflow(pixels, size, interpolation, antialias=True)
    assert (
        abs(ours - theirs).max()
        <= {"bilinear": 1.001, "bicubic": 1.2, "lanczos": 1.3}[interpolation]
    )


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_the_nearest_pixel_is_that_of_pillow_and_tensorflow(source, size):
    pixels = noise(*source)
    ours = resized(pixels, size, "nearest")
    assert (ours == np.asarray(Image.fromarray(pixels).resize(size[::-1], 0))).all()
    # A point between two pixels has no nearest one, and is rounded differently.
    clear = [
        np.arange(1, 2 * count, 2) * length % (2 * count) != 0
        for length, count in zip(source, size, strict=True)
    ]
    theirs = by_tensorflow(pixels, size, "nearest", False)
    assert (ours == theirs)[np.ix_(*clear)].all()


@given(filters, sizes, sizes, st.sampled_from(MODES), st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None, max_examples=300)
def test_one_colour_stays_that_colour(kind, source, size, mode, colour):
    pixels = np.full((*source, 3), colour, np.uint8)
    result = resized(pixels, size, *kind, resize=mode, background=colour)
    assert result.shape == (*size, 3)
    assert (result == colour).all()


@given(filters, sizes, st.sampled_from(MODES))
@settings(deadline=None)
def test_an_image_of_the_right_size_stays_as_it_is(kind, size, mode):
    assert (resized(noise(*size), size, *kind, resize=mode) == noise(*size)).all()


@given(filters.filter(lambda kind: kind[0] != "nearest"), sizes, sizes, st.sampled_from(MODES))
@settings(deadline=None)
def test_the_mirror_image_of_a_result_is_that_of_the_mirror_image(kind, source, size, mode):
    if mode == "pad":  # The odd pixel of its background is always on the same side.
        size = (size[0], size[0])
        source = (source[0], source[0])
    ours = resized(noise(*source), size, *kind, resize=mode).astype(int)
    mirrored = resized(noise(*source)[:, ::-1], size, *kind, resize=mode).astype(int)
    assert abs(ours - mirrored[:, ::-1]).max() <= 1


@given(filters, sizes, sizes)
@settings(deadline=None)
def test_rows_and_columns_are_treated_alike(kind, source, size):
    pixels = noise(*source, 90, 166)
    turned = resized(pixels.swapaxes(0, 1), size[::-1], *kind).swapaxes(0, 1)
    # Pillow rounds between columns and rows.
    assert abs(resized(pixels, size, *kind).astype(int) - turned).max() <= 1 + kind[1]


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("source", "size"), [((41, 90), (60, 75)), ((90, 41), (64, 64))])
def test_a_crop_is_scaled_as_pillow_scales_its_box(kind, source, size):
    """Nothing is averaged where an image is enlarged: what is antialiased must be the same."""
    interpolation, antialias = kind
    pixels = noise(*source, 90, 166)
    scale = max(size[0] / source[0], size[1] / source[1])
    down, across = (length / scale / 2 for length in size)
    y, x = source[0] / 2, source[1] / 2
    box = tuple(np.clip((x - across, y - down, x + across, y + down), 0, source[::-1] * 2))
    ours = resized(pixels, size, interpolation, antialias, resize="center_crop")
    if interpolation == "area":
        # Sixty times as many pixels make the box one of whole ones.
        large = pixels.repeat(60, 0).repeat(60, 1)
        left, upper, right, lower = (round(60 * float(edge)) for edge in box)
        expected = resized(large[upper:lower, left:right], size, "area")
    else:
        filter = getattr(Image.Resampling, interpolation.upper())
        expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], filter, box))
    assert abs(ours.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", FILTERS)
def test_the_background_of_a_padded_image_keeps_its_colour(kind):
    pixels = noise(30, 60)
    padded = resized(pixels, (40, 40), *kind, resize="pad", background=(1, 2, 3))
    assert (padded[:10] == (1, 2, 3)).all() and (padded[30:] == (1, 2, 3)).all()
    assert (padded[10:30] == resized(pixels, (20, 40), *kind)).all()


@pytest.mark.parametrize("kind", FILTERS)
def test_a_child_and_a_late_profile_give_the_same(kind):
    options = {"interpolation": kind[0], "antialias": kind[1]}
    fast, exact = (DecodePolicy((24, 32), decode=mode, **options) for mode in ("fast", "exact"))
    picture = images.noise(1)
    png, bmp = (images.encode(picture, format) for format in ("PNG", "BMP"))
    plain = decode_image(png, fast).pixels.astype(int)
    assert (decode_image(bmp, fast).pixels == plain).all()  # In a child.
    profile = profiles.matrix_profile(profiles.ADOBE_RGB, 2.2)
    data = images.encode(picture, "PNG", icc_profile=profile)
    late, early = (decode_image(data, policy).pixels.astype(int) for policy in (fast, exact))
    assert abs(early - plain).mean() > 3
    # Means of colours that are converted differ from converted means of colours.
    assert abs(late - early).mean() <= (0 if kind[0] == "nearest" else 1.5)


def _photo(height, width):
    """A JPEG whose details are lost where the decoder drops scales."""
    return images.encode(Image.fromarray(noise(height, width)), quality=95)


@pytest.mark.parametrize(
    ("kind", "leaves"),
    [
        (("bilinear", True), 1),
        (("bicubic", True), 2),
        (("lanczos", True), 2),
        (("area", True), 2),
        (("nearest", True), 0),
        *((kind, 0) for kind in FILTERS if not kind[1]),
    ],
)
def test_a_decoder_drops_no_scale_that_the_filter_needs(kind, leaves, monkeypatch):
    from image_features.transforms.images.decoders import jpeg

    policy = DecodePolicy((32, 32), interpolation=kind[0], antialias=kind[1])
    exact = dataclasses.replace(policy, decode="exact")
    assert policy.margin == leaves and exact.margin == 0
    for factor in (1, 2, 3, 4, 8, 9, 16):
        data = _photo(32 * factor, 32 * factor + 5)
        raster = jpeg.decode_jpeg(data, read_header(data), policy)
        left = raster.image.height / 32
        assert left == factor if not leaves else left >= min(factor, leaves)
        same = (decode_image(data, policy).pixels == decode_image(data, exact).pixels).all()
        assert same == (left == factor)


def test_what_is_not_said_is_as_it_always_was():
    policy = DecodePolicy((9, 9))
    assert not {"interpolation", "antialias"} & set(policy.to_json())
    assert DecodePolicy.from_json(policy.to_json()) == policy
    for interpolation, antialias in FILTERS:
        policy = DecodePolicy((9, 9), interpolation=interpolation, antialias=antialias)
        assert DecodePolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    pixels = noise(40, 60)
    default = Image.fromarray(pixels).resize((9, 9), Image.Resampling.BILINEAR)
    assert (
        np.asarray(resize(Image.fromarray(pixels), (9, 9), DecodePolicy((9, 9)))) == default
    ).all()


@pytest.mark.parametrize(
    ("interpolation", "antialias", "says"),
    [
        ("nearest", False, "not for nearest: nearest never"),
        ("area", False, "bilinear, bicubic and lanczos, not for area"),
        ("mitchell", True, "one of bilinear, .*'mitchell'"),
    ],
)
def test_what_is_no_filter_is_refused(interpolation, antialias, says):
    with pytest.raises(ValueError, match=says):
        DecodePolicy((9, 9), interpolation=interpolation, antialias=antialias)
