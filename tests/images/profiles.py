"""Pictures with colour profiles (ICC), all written here, and what they are in sRGB."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests import images
from tests.images.sample import Sample, as_rgb, grey, picture

Array = npt.NDArray[np.float64]
# The colorants in XYZ under D50: a row for each of red, green and blue.
SRGB = np.array(
    [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141]]
)
ADOBE_RGB = np.array(
    [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]]
)
DISPLAY_P3 = np.array(
    [[0.51512, 0.2412, -0.00105], [0.29198, 0.69225, 0.04189], [0.1571, 0.06657, 0.78407]]
)
PROPHOTO = np.array([[0.79767, 0.28804, 0.0], [0.13519, 0.71188, 0.0], [0.03134, 0.00009, 0.82491]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_NO_VIEWER = "Viewers differ about profiles that are not the image's."


def matrix_profile(colorants: Array, gamma: float) -> bytes:
    """Writes the profile of a display with three colorants."""
    tags = {f"{name}XYZ": _xyz(row) for name, row in zip("rgb", colorants, strict=True)}
    tags |= {f"{name}TRC": _gamma(gamma) for name in "rgb"}
    return _profile("mntr", "RGB ", "XYZ ", tags)


def srgb_profile() -> bytes:
    """Writes the profile of sRGB in a spelling of its own, with a parametric curve."""
    curve = _words(1, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    curve = struct.pack(">4sxxxxHxx", b"para", 3) + _words(2.4) + curve[4:]
    tags = {f"{name}XYZ": _xyz(row) for name, row in zip("rgb", SRGB, strict=True)}
    return _profile("mntr", "RGB ", "XYZ ", tags | {f"{name}TRC": curve for name in "rgb"})


def grey_profile(gamma: float) -> bytes:
    """Writes the profile of a display of greys."""
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _gamma(gamma)})


def table_profile(kind: str, space: str, channels: int, lab: Callable[[Array], Array]) -> bytes:
    """Writes a profile that is a table of the colours of all corners, each in Lab."""
    body = struct.pack(">4sxxxxBBBx", b"mft2", channels, 3, 2) + _words(1, 0, 0, 0, 1, 0, 0, 0, 1)
    body += struct.pack(">HH", 2, 2) + struct.pack(">HH", 0, 65535) * channels
    for corner in itertools.product((0.0, 1.0), repeat=channels):
        lightness, a, b = lab(np.array(corner))
        values = lightness * 652.8, (a + 128) * 256, (b + 128) * 256
        body += struct.pack(">HHH", *(min(65535, max(0, round(value))) for value in values))
    body += struct.pack(">HH", 0, 65535) * 3
    return _profile(kind, space, "Lab ", {"A2B0": body})


def to_srgb(values: npt.NDArray[np.uint8], colorants: Array, gamma: float) -> npt.NDArray[np.uint8]:
    """Converts colours [..., 3] of a matrix profile, by the definitions alone."""
    return _encoded((values / 255) ** gamma @ colorants)


def grey_to_srgb(values: npt.NDArray[np.uint8], gamma: float) -> npt.NDArray[np.uint8]:
    """Converts greys of a profile to levels of sRGB."""
    return _encoded((values[..., None] / 255) ** gamma * _D50)[..., 0]


def lab_to_srgb(lab: Array) -> npt.NDArray[np.uint8]:
    """Converts colours [..., 3] in Lab."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    return _encoded(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50)


def swapped_lab(corner: Array) -> Array:
    """Returns a colour by which green is shown for red, dark blue for green and red for blue."""
    red, green, blue = corner
    return np.array([100 * (red + green + blue) / 3, 60 * (green - red), 60 * (blue - green)])


def ink_lab(corner: Array) -> Array:
    """Returns the colour of inks, of which black covers all others."""
    cyan, magenta, yellow, black = corner
    light = (1 - black) * (1 - (cyan + magenta + yellow) / 3)
    return np.array([100 * light, 40 * light * (magenta - cyan), 40 * light * (yellow - cyan)])


def samples() -> list[Sample]:
    """Returns the samples of profiles."""
    return [*_matrices(), *_greys(), *_tables(), *_ignored()]


def _matrices() -> list[Sample]:
    colours = picture()
    made = []
    for name, colorants, gamma in (
        ("adobe_rgb", ADOBE_RGB, 2.19921875),
        ("display_p3", DISPLAY_P3, 2.2),
        ("prophoto", PROPHOTO, 1.80078125),
    ):
        profile, expected = matrix_profile(colorants, gamma), to_srgb(colours, colorants, gamma)
        data = images.encode(Image.fromarray(colours), "PNG", icc_profile=profile)
        made.append(Sample(f"profile_{name}_png", data, expected))
    profile, expected = matrix_profile(DISPLAY_P3, 2.2), to_srgb(colours, DISPLAY_P3, 2.2)
    rgb = Image.fromarray(colours)
    fine = {"quality": 100, "subsampling": 0}
    data = images.encode(rgb, "JPEG", icc_profile=profile, **fine)
    made.append(Sample("profile_jpeg", data, expected, 12))
    data = images.encode(rgb, "WEBP", icc_profile=profile, lossless=True)
    made.append(Sample("profile_webp", data, expected))
    data = images.encode(rgb, "TIFF", icc_profile=profile)
    made.append(Sample("profile_tiff", data, expected))
    alpha = np.tile(np.arange(0, 256, 17, dtype=np.uint8), (12, 1))
    data = images.encode(Image.fromarray(np.dstack([colours, alpha])), "PNG", icc_profile=profile)
    part = alpha[..., None] / 255
    over_white = np.rint(expected * part + 255 * (1 - part)).astype(np.uint8)
    made.append(Sample("profile_rgba_png", data, over_white))
    few = Image.fromarray(colours).quantize(16)
    shown = to_srgb(np.asarray(few.convert("RGB")), DISPLAY_P3, 2.2)
    made.append(
        Sample("profile_palette_png", images.encode(few, "PNG", icc_profile=profile), shown)
    )
    return made


def _greys() -> list[Sample]:
    profile, levels = grey_profile(1.0), grey()
    expected = as_rgb(grey_to_srgb(levels, 1.0))
    image = Image.fromarray(levels)
    made = [
        Sample("profile_grey_png", images.encode(image, "PNG", icc_profile=profile), expected),
        Sample(
            "profile_grey_jpeg",
            images.encode(image, "JPEG", icc_profile=profile, quality=100),
            expected,
            16,  # One level of the darkest becomes 13.
        ),
    ]
    whole = Image.merge("LA", (image, Image.new("L", image.size, 255)))
    data = images.encode(whole, "PNG", icc_profile=profile)
    made.append(Sample("profile_grey_alpha_png", data, expected))
    return made


def _tables() -> list[Sample]:
    corners = np.array([*itertools.product((0, 1), repeat=3)], float)
    rgb = (corners * 255).astype(np.uint8).reshape(2, 4, 3)
    expected = lab_to_srgb(np.array([swapped_lab(corner) for corner in corners])).reshape(2, 4, 3)
    profile = table_profile("scnr", "RGB ", 3, swapped_lab)
    data = images.encode(Image.fromarray(rgb), "PNG", icc_profile=profile)
    made = [Sample("profile_table_png", data, expected, 2)]
    inks = np.array([*itertools.product((0, 1), repeat=4)], float)
    stored = (inks * 255).astype(np.uint8).reshape(4, 4, 4)
    expected = lab_to_srgb(np.array([ink_lab(ink) for ink in inks])).reshape(4, 4, 3)
    profile = table_profile("prtr", "CMYK", 4, ink_lab)
    cmyk = Image.frombytes("CMYK", (4, 4), stored.tobytes())
    data = images.encode(cmyk, "TIFF", icc_profile=profile)
    made.append(Sample("profile_cmyk_tiff", data, expected, 2))
    large = cmyk.resize((32, 32), Image.Resampling.NEAREST)
    data = images.encode(large, "JPEG", icc_profile=profile, quality=100, subsampling=0)
    expected = expected.repeat(8, axis=0).repeat(8, axis=1)
    made.append(Sample("profile_cmyk_jpeg", data, expected, 4))
    return made


def _ignored() -> list[Sample]:
    colours = picture()
    wide = matrix_profile(PROPHOTO, 1.80078125)
    dark = matrix_profile(PROPHOTO * 0.1, 1.80078125)
    profiles = {
        "srgb": srgb_profile(),
        "of_greys": grey_profile(1.0),
        "of_inks": table_profile("prtr", "CMYK", 4, ink_lab),
        "of_links": wide[:12] + b"link" + wide[16:],
        "cut": wide[:200],
        "header": wide[:128],
        "noise": b"no profile at all",
        "unsigned": wide[:36] + b"none" + wide[40:],
        "dark": dark,
        "without_tags": _profile("mntr", "RGB ", "XYZ ", {}),
        "of_elements": _profile("mntr", "RGB ", "Lab ", {"D2B0": b"mpet" + bytes(12)}),
    }
    return [
        Sample(
            f"profile_ignored_{name}",
            images.encode(Image.fromarray(colours), "PNG", icc_profile=profile),
            colours,
            comparable="" if name == "srgb" else _NO_VIEWER,
        )
        for name, profile in profiles.items()
    ]


def _profile(kind: str, space: str, connection: str, tags: Mapping[str, bytes]) -> bytes:
    named = {"wtpt": _xyz(_D50), **tags}
    position = 132 + 12 * len(named)
    table, bodies = struct.pack(">I", len(named)), b""
    for name, body in named.items():
        table += struct.pack(">4sII", name.encode(), position + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x",
        position + len(bodies),
        0x02400000,
        kind.encode(),
        space.encode(),
        connection.encode(),
        b"acsp",
    )
    return (header + _words(*_D50)).ljust(128, b"\0") + table + bodies


def _words(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: Array) -> bytes:
    return b"XYZ \0\0\0\0" + _words(*values)


def _gamma(value: float) -> bytes:
    return struct.pack(">4sxxxxIH", b"curv", 1, round(value * 256))


def _encoded(xyz: Array) -> npt.NDArray[np.uint8]:
    linear = np.clip(xyz @ np.linalg.inv(SRGB), 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curved).astype(np.uint8)
