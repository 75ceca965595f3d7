"""Embedded profiles: which are applied, and to what."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from image_features.transforms.images.colour import to_rgb
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.profiles import to_srgb
from tests import images
from tests.images import profiles
from tests.images.sample import grey, picture

WHITE = (255, 255, 255)
P3 = profiles.matrix_profile(profiles.DISPLAY_P3, 2.2)
COLOURS = picture()
IN_SRGB = profiles.to_srgb(COLOURS, profiles.DISPLAY_P3, 2.2)


def difference(image, expected):
    return np.abs(np.asarray(image).astype(int) - expected).max()


def test_profiles_apply_in_every_mode_of_an_image():
    rgb = Image.fromarray(COLOURS)
    assert difference(to_rgb(rgb, WHITE, P3), IN_SRGB) <= 1
    assert difference(rgb, COLOURS) == 0
    key = rgb.copy()
    key.info["transparency"] = tuple(int(value) for value in COLOURS[0, 0])
    expected = IN_SRGB.copy()
    expected[0, 0] = 255
    assert difference(to_rgb(key, WHITE, P3), expected) <= 1
    # White behind what is transparent is no colour of the profile.
    clear = Image.fromarray(np.dstack([COLOURS, np.zeros_like(COLOURS[..., 0])]))
    assert difference(to_rgb(clear, (9, 90, 200), P3), np.array([9, 90, 200])) == 0
    few = rgb.quantize(8)
    shown = profiles.to_srgb(np.asarray(few.convert("RGB")), profiles.DISPLAY_P3, 2.2)
    assert difference(to_rgb(few, WHITE, P3), shown) <= 1
    levels = grey()
    expected = np.repeat(profiles.grey_to_srgb(levels, 1.8)[..., None], 3, axis=2)
    of_greys = profiles.grey_profile(1.8)
    assert difference(to_rgb(Image.fromarray(levels), WHITE, of_greys), expected) <= 1
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    assert difference(to_rgb(deep, WHITE, of_greys), expected) <= 1


def test_lab_stays_lab_whatever_profile_comes_along():
    lab = Image.frombytes("LAB", (1, 1), bytes([255, 0, 0]))
    for profile in (b"", P3, profiles.grey_profile(1.8)):
        assert difference(to_rgb(lab, WHITE, profile), np.array(WHITE)) <= 1


def test_profiles_of_no_use_are_left_alone():
    rgb, levels = Image.fromarray(COLOURS), Image.fromarray(grey())
    assert to_srgb(rgb, profiles.srgb_profile()) is None
    assert to_srgb(rgb, profiles.grey_profile(1.8)) is None
    assert to_srgb(levels, P3) is None
    assert to_srgb(rgb, P3 + bytes(5 * 2**20)) is None


def test_damaged_profiles_never_raise():
    rng = np.random.default_rng(5)
    rgb, inks = Image.fromarray(COLOURS), Image.new("CMYK", (4, 4))
    table = profiles.table_profile("prtr", "CMYK", 4, profiles.ink_lab)
    for image, profile in ((rgb, P3), (inks, table)) * 100:
        damaged = bytearray(profile[: rng.integers(150, len(profile) + 1)])
        for place in rng.integers(100, len(damaged), 3):
            damaged[place - 1] = rng.integers(0, 256)
        converted = to_srgb(image, bytes(damaged))
        assert converted is None or (converted.mode, converted.size) == ("RGB", image.size)


def test_threads_share_conversions():
    wide = [
        profiles.matrix_profile(colours, 2.2)
        for colours in (profiles.PROPHOTO, profiles.DISPLAY_P3)
    ]
    seeds = [images.noise(seed, 200, 150) for seed in range(4)]
    work = [*itertools.product(seeds, wide)] * 12
    alone = [to_srgb(image, profile).tobytes() for image, profile in work]
    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(lambda pair: to_srgb(*pair).tobytes(), work)]
    assert together == alone


def test_a_fast_decode_is_close_to_an_exact_one():
    photograph = images.noise(3, 500, 375)
    data = images.encode(photograph, quality=92, icc_profile=P3)
    plain = images.encode(photograph, quality=92)
    for resize in ("stretch", "center_crop", "pad"):
        exact, fast, untold = (
            decode_image(file, DecodePolicy((96, 96), resize, decode)).pixels.astype(int)
            for file, decode in ((data, "exact"), (data, "fast"), (plain, "fast"))
        )
        assert np.abs(exact - fast).mean() < 2
        assert np.abs(untold - fast).mean() > 4
