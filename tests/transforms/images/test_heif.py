"""HEIC and AVIF: colours by profiles and numbers, lies about sizes, and the extra [heif]."""

import dataclasses
import io
import struct
import sys
import time

import imagecodecs
import numpy as np
import pytest
from PIL import AvifImagePlugin, Image, ImageCms

from image_features.transforms.images import children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.avif import decode_avif
from image_features.transforms.images.decoders.heic import decode_heic
from image_features.transforms.images.decoders.jpeg2000 import decode_jpeg2000
from image_features.transforms.images.headers.heif import read_heif, read_picture
from image_features.transforms.images.headers.jpeg2000 import read_jpeg2000
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason
from tests.images import avif, heic, jpeg2000
from tests.images.bmff import box, full_box, heif, icc, nclx
from tests.images.sample import picture

POLICY = DecodePolicy((12, 16), decode="exact")
BT709, P3, BT2020, UNSPECIFIED = 1, 12, 9, 2
SRGB, PQ, LINEAR, GAMMA_22 = 13, 16, 8, 4


def avif_file(*properties, pixels=None):
    return heif(b"avif", [avif.coded(picture() if pixels is None else pixels).but(*properties)])


def raster_of(data):
    decode = {"avif": decode_avif, "heic": decode_heic}
    header = read_heif(data)
    return decode[header.format](data, header, POLICY)


def in_srgb(raster):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(raster.profile))
    return ImageCms.profileToProfile(raster.image, profile, ImageCms.createProfile("sRGB"))


@pytest.mark.parametrize("colour", [(BT709, SRGB), (UNSPECIFIED, UNSPECIFIED), (BT709, 1)])
def test_colours_of_srgb_need_no_profile(colour):
    assert raster_of(avif_file(nclx(*colour, 0))).profile == b""


def light_to_xyz(primaries, white=(0.3127, 0.3290)):
    """Returns the matrix from linear RGB to XYZ, by the chromaticities (SMPTE RP 177)."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    light = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    return columns * np.linalg.solve(columns, light)


OF_P3 = light_to_xyz((0.680, 0.320, 0.265, 0.690, 0.150, 0.060))
OF_BT2020 = light_to_xyz((0.708, 0.292, 0.170, 0.797, 0.131, 0.046))
OF_BT709 = light_to_xyz((0.640, 0.330, 0.300, 0.600, 0.150, 0.060))


def of_srgb(level):
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(
    ("colour", "matrix", "curve"),
    [
        ((P3, SRGB), OF_P3, of_srgb),
        ((P3, UNSPECIFIED), OF_P3, of_srgb),
        ((BT2020, SRGB), OF_BT2020, of_srgb),
        ((BT709, LINEAR), OF_BT709, lambda level: level),
        ((BT709, GAMMA_22), OF_BT709, lambda level: level**2.2),
    ],
)
def test_colours_by_numbers_become_a_profile(colour, matrix, curve):
    coded = np.array([150, 170, 140])
    light = np.linalg.solve(OF_BT709, matrix @ curve(coded / 255))
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels = np.full((12, 16, 3), coded, np.uint8)
    seen = in_srgb(raster_of(avif_file(nclx(*colour, 0), pixels=pixels)))
    assert np.abs(np.array(seen.getpixel((3, 3))) - expected).max() <= 1.5


def test_grey_by_numbers_becomes_a_profile_of_grey():
    pixels = np.full((12, 16), 55, np.uint8)
    raster = raster_of(avif_file(nclx(P3, LINEAR, 1), pixels=pixels))
    assert raster.profile[16:20] == b"GRAY"
    assert raster_of(avif_file(nclx(P3, SRGB, 1), pixels=pixels)).profile == b""


def test_the_av1_data_tells_colours_that_no_box_tells():
    encoded = imagecodecs.avif_encode(picture(), primaries=P3, transfer=SRGB)
    part = heif(b"avif", [avif.part_of(encoded)])
    assert b"colr" not in part
    assert raster_of(part).profile
    hdr = imagecodecs.avif_encode(picture(), primaries=BT2020, transfer=PQ)
    assert "dynamic range" in read_heif(heif(b"avif", [avif.part_of(hdr)])).unsupported


def test_an_icc_profile_comes_along_and_counts_before_numbers():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = avif_file(nclx(BT2020, PQ, 0), icc(profile))
    assert read_heif(data).unsupported == ""
    assert raster_of(data).profile == profile
    pytest.importorskip("pillow_heif")
    part = heic.coded(heic.shown())
    assert raster_of(heif(b"heic", [part.but(nclx(2, 2, 0), icc(profile))])).profile == profile
    assert raster_of(heif(b"heic", [part.but(nclx(P3, SRGB, 0))])).profile
    specification = box(b"colr", b"\2\0\0", profile)
    jp2 = jpeg2000.jp2(jpeg2000.codestream(picture()), specification)
    assert decode_jpeg2000(jp2, read_jpeg2000(jp2), POLICY).profile == profile


def test_a_sequence_without_a_cover_shows_its_first_frame():
    frames = [Image.fromarray(picture()), Image.new("RGB", (16, 12))]
    out = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "subsampling": "4:4:4"}
    frames[0].save(out, "AVIF", quality=100, **options)
    data = out.getvalue()
    without = data.replace(b"meta", b"free", 1).replace(b"avifavis", b"msf1avis")
    assert b"avif" not in without[:64]
    for sequence in (data, without):
        seen = decode_image(sequence, POLICY).pixels.astype(int)
        assert np.abs(seen - picture()).max() <= 4
    lie = bytearray(without)
    width = lie.index(b"tkhd") + 4 + 88
    lie[width : width + 8] = struct.pack(">II", 8 << 16, 8 << 16)
    with pytest.raises(DecodeError, match="8 x 8 pixels, but"):
        read_heif(bytes(lie))


def test_the_decoder_of_av1_has_one_thread():
    raster_of(avif_file(nclx(BT709, SRGB, 0)))
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 1


def test_pillow_learns_no_format_by_the_extra():
    pytest.importorskip("pillow_heif")
    before = "HEIF" in Image.OPEN  # A library of another test may have registered it.
    raster_of(heic.lossless(heic.shown()))
    assert ("HEIF" in Image.OPEN) is before


def test_parameters_among_the_data_must_not_lie():
    pytest.importorskip("pillow_heif")
    small, large = heic.coded(heic.shown()), heic.coded(picture(640, 640))
    configuration = next(p for p in large.properties if p[4:8] == b"hvcC")
    start = configuration.index(b"\x42\x01") - 2
    (size,) = struct.unpack_from(">H", configuration, start)
    unit = configuration[start + 2 : start + 2 + size]
    hidden = dataclasses.replace(small, data=struct.pack(">I", size) + unit + small.data)
    with pytest.raises(DecodeError, match="the data is for 640 x 640") as caught:
        read_heif(heif(b"heic", [hidden]))
    assert caught.value.reason is Reason.CORRUPT


def test_boxes_and_tables_without_end_cost_no_time():
    sound = avif_file(nclx(BT709, SRGB, 0))
    place = sound.index(b"iloc") - 4
    table = full_box(b"iloc", 0, 0, b"\x44\0\0\1\0\1\0\0\xff\xff", bytes(5 * 2**20))
    start = time.monotonic()
    for data in (sound[:28] + box(b"free") * 1_000_000, sound[:place] + table):
        with pytest.raises(DecodeError):
            read_heif(data)
    assert time.monotonic() - start < 1


def test_parts_of_data_are_not_used_many_times():
    part = avif.coded(picture()).but(nclx(BT709, SRGB, 0))
    sound = heif(b"avif", [part])
    places = sound.index(b"iloc") + 4
    (place,) = struct.unpack_from(">I", sound, places + 14)
    many = full_box(
        b"iloc",
        0,
        0,
        b"\x44\0\0\1\0\1\0\0\xff\xff",
        struct.pack(">II", place, len(part.data)) * 65535,
    )
    item = full_box(b"infe", 2, 0, struct.pack(">HH", 1, 0), b"av01\0")
    meta = full_box(
        b"meta",
        0,
        0,
        full_box(b"pitm", 0, 0, b"\0\1"),
        full_box(b"iinf", 0, 0, b"\0\1", item),
        box(
            b"iprp",
            box(b"ipco", *part.properties),
            full_box(b"ipma", 0, 0, struct.pack(">IHB4B", 1, 1, 4, 1, 2, 3, 4)),
        ),
        many,
    )
    with pytest.raises(DecodeError, match="many times"):
        read_heif(sound[:28] + meta + bytes(place + 2**10))


@pytest.fixture
def without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "pillow_heif.py").write_text("raise ImportError('hidden')\n")
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(children, "_children", children._Children())


def test_without_the_extra_the_message_names_it(request):
    pytest.importorskip("pillow_heif")
    data = heic.lossless(heic.shown())
    request.getfixturevalue("without_the_extra")
    with pytest.raises(DecodeError) as here:
        raster_of(data)
    with pytest.raises(DecodeError) as in_child:
        decode_image(data, POLICY)
    for caught in (here, in_child):
        assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
        assert "pip install 'image-feature-extractor[heif]'" in caught.value.message
    assert here.value.message == in_child.value.message


def test_the_picture_has_the_size_that_is_shown():
    part = avif.coded(picture()).but(nclx(BT709, SRGB, 0), avif.irot(1))
    data = heif(b"avif", [part])
    assert read_picture(data).shown == (12, 16)
    seen = decode_image(data, POLICY)
    assert (seen.format, seen.width, seen.height) == ("avif", 12, 16)
