"""The preview of a camera stands for its picture only where it is the same picture."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.preview import find_preview, preview_pixels
from tests.images import encode, noise, profiles
from tests.images.camera import Exif, on_canvas, photograph
from tests.images.jpeg_writer import segment

PREVIEW = DecodePolicy((96, 96), decode="preview")
FAST = dataclasses.replace(PREVIEW, decode="fast")
TURNED = Image.Transpose.ROTATE_180
THUMBNAIL = (160, 120)


def thumbnail(picture, size=THUMBNAIL, **options):
    return encode(on_canvas(picture, size), **{"quality": 85, **options})


def seen(data, policy=PREVIEW):
    return decode_image(data, policy)


def difference(data, policy=PREVIEW):
    """Returns how far a preview's pixels are from the picture's, in levels of 255."""
    picture = decode_image(data, dataclasses.replace(policy, decode="exact"))
    preview = decode_image(data, policy)
    assert preview.of_preview and not picture.of_preview
    assert (preview.width, preview.height) == (picture.width, picture.height)
    ours, theirs = ((one.pixels, *one.further) for one in (preview, picture))
    return max(np.abs(a.astype(int) - b).mean() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(640, 480), (640, 427), (480, 640), (640, 360), (500, 500)])
def test_previews_are_what_the_picture_is(orientation, size):
    # The grid of orientation, shape and bars; on 160 x 120 some leave less than the model's 64.
    picture = noise(orientation, *size)
    policy = dataclasses.replace(PREVIEW, image_size=(64, 64))
    exif = Exif(thumbnail(picture), orientation, size)
    assert difference(photograph(picture, exif), policy) < 4


@pytest.mark.parametrize("resize", ["stretch", "center_crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos", "area"])
def test_previews_are_resized_as_pictures_are(resize, interpolation):
    picture = noise(1, 640, 427)
    policy = DecodePolicy((32, 48), resize, "preview", interpolation=interpolation)
    policy = dataclasses.replace(policy, further_sizes=((24, 24),))
    assert difference(photograph(picture, Exif(thumbnail(picture), 6)), policy) < 5


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("main", [{"progressive": True}, {"subsampling": 0}, {"quality": 50}])
@pytest.mark.parametrize("preview", [{"progressive": True}, {"subsampling": 0}, {"quality": 40}])
def test_previews_of_several_encoders(order, main, preview):
    picture = noise(2, 640, 480)
    data = photograph(picture, Exif(thumbnail(picture, **preview), 1, order=order), **main)
    assert difference(data) < 5


def test_grey_pictures_have_grey_previews():
    picture = noise(3, 640, 480).convert("L")
    data = photograph(picture, Exif(encode(picture.resize(THUMBNAIL))))
    assert difference(data) < 4


def test_the_smallest_preview_that_is_enough_is_taken():
    picture = noise(4, 1280, 960)
    small = Exif(thumbnail(picture))
    large = [encode(picture.resize((640, 480))), encode(picture.resize((320, 240)))]
    data = photograph(picture, small, large)
    sizes = []
    for side in (96, 200, 400, 700):
        policy = dataclasses.replace(PREVIEW, image_size=(side, side))
        found = find_preview(lambda begin, end: data[begin:end], policy)
        sizes.append(found and Image.open(io.BytesIO(found[0].preview)).size)
        if found:
            assert difference(data, policy) < 4
    assert sizes == [(160, 120), (320, 240), (640, 480), None]


def test_other_pictures_of_a_file_are_no_previews():
    picture = noise(5, 640, 480)
    for kind in (0, 0x020001, 0x020002, 0x030000):
        data = photograph(picture, None, [thumbnail(picture)], kind=kind)
        assert not seen(data).of_preview
    assert seen(photograph(picture, None, [thumbnail(picture)])).of_preview


def stale():
    picture = noise(6, 640, 480)
    square = noise(6, 480, 480)
    good, other = thumbnail(picture), noise(7, 640, 480)
    yield "none", photograph(picture, Exif())
    yield "of another shape", photograph(picture, Exif(encode(picture.resize((160, 100)))))
    yield "turned already", photograph(picture, Exif(encode(picture.resize((120, 160))), 6))
    yield (
        "a square that is turned",
        photograph(
            square, Exif(encode(square.resize((160, 160)).transpose(Image.Transpose.ROTATE_90)), 6)
        ),
    )
    yield "upside down", photograph(picture.transpose(TURNED), Exif(good))
    yield "of another picture", photograph(other, Exif(good))
    yield "in other colours", photograph(Image.eval(picture, lambda level: 255 - level), Exif(good))
    yield "of another size, as EXIF says", photograph(picture, Exif(good, size=(1280, 960)))
    yield "turned otherwise, as EXIF says", photograph(picture, Exif(good, 6, turned=1))
    yield "too small", photograph(picture, Exif(encode(picture.resize((120, 90)))))
    yield "too large to be worth it", photograph(picture, Exif(encode(picture.resize((400, 300)))))
    yield "cut off", photograph(picture, Exif(good[:-200]))
    yield "no JPEG", photograph(picture, Exif(encode(picture.resize(THUMBNAIL), "PNG")))
    yield "CMYK", photograph(picture.convert("CMYK"), Exif(good))
    bars = Image.new("RGB", THUMBNAIL, (90, 90, 90))
    bars.paste(picture.resize((160, 107)), (0, 6))
    yield "with bars that are grey", photograph(noise(6, 640, 427), Exif(encode(bars)))
    light = on_canvas(noise(6, 640, 360), THUMBNAIL)
    yield "with bars of another shape", photograph(noise(6, 640, 427), Exif(encode(light)))
    turned = Exif(photograph(picture.resize(THUMBNAIL), Exif(orientation=3)), 1)
    yield "turned otherwise, as its own EXIF says", photograph(picture, turned)


@pytest.mark.parametrize(("why", "data"), list(stale()), ids=[why for why, _ in stale()])
def test_what_is_no_preview_is_decoded_as_ever(why, data):
    fast, preview = seen(data, FAST), seen(data)
    assert not preview.of_preview
    assert (fast.pixels == preview.pixels).all()


def test_without_antialias_there_is_no_preview():
    picture = noise(8, 640, 480)
    data = photograph(picture, Exif(thumbnail(picture)))
    for options in ({"antialias": False}, {"interpolation": "nearest"}):
        assert not seen(data, dataclasses.replace(PREVIEW, **options)).of_preview


def test_the_profile_of_the_picture_is_that_of_its_preview():
    picture = noise(9, 640, 480)
    icc = profiles.matrix_profile(profiles.PROPHOTO, 1.8)
    with_profile = photograph(picture, Exif(thumbnail(picture)), icc_profile=icc)
    assert difference(with_profile) < 4
    without = photograph(picture, Exif(thumbnail(picture)))
    assert np.abs(seen(with_profile).pixels.astype(int) - seen(without).pixels).mean() > 8


def test_a_picture_that_begins_late_has_its_preview_all_the_same():
    picture = noise(10, 640, 480)
    for segments, of_preview in ((0, True), (2, True), (5, False)):
        between = segment(0xE4, bytes(65_000)) * segments
        data = photograph(picture, Exif(thumbnail(picture)), between=between)
        assert seen(data).of_preview is of_preview


def test_the_pixels_do_not_depend_on_how_much_of_the_file_is_there():
    picture = noise(11, 1280, 960)
    data = photograph(picture, Exif(thumbnail(picture)), [thumbnail(picture, (640, 480))])
    for side in (96, 300):
        policy = dataclasses.replace(PREVIEW, image_size=(side, side))
        excerpt, pixels = find_preview(lambda begin, end: data[begin:end], policy)
        assert len(excerpt.beginning) <= 65536
        again = preview_pixels(excerpt, policy)
        assert (again.pixels == pixels.pixels).all()
        assert (seen(data, policy).pixels == pixels.pixels).all()


def test_limits_of_the_picture_hold():
    picture = noise(12, 640, 480)
    data = photograph(picture, Exif(thumbnail(picture)))
    for limit in ({"max_pixels": 300_000}, {"max_bytes": 1000}):
        for decode in ("fast", "preview"):
            with pytest.raises(DecodeError):
                seen(data, dataclasses.replace(PREVIEW, decode=decode, **limit))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_bytes_fail_that_a_fast_decode_takes(data):
    file = bytearray(_SOUND)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(2, 900) | st.integers(2, len(file) - 1))
        file[place : place + data.draw(st.sampled_from([0, 1, 4]))] = data.draw(
            st.binary(max_size=4)
        )
    try:
        fast = seen(bytes(file), FAST)
    except DecodeError:
        return
    preview = seen(bytes(file))
    assert preview.pixels.shape == fast.pixels.shape
    if not preview.of_preview:
        assert (preview.pixels == fast.pixels).all()


_PICTURE = noise(13, 640, 427)
_SOUND = photograph(
    _PICTURE, Exif(thumbnail(_PICTURE), size=(640, 427)), [encode(_PICTURE.resize((300, 200)))]
)
