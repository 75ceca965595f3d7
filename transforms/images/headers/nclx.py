"""Colours that are told by numbers (ITU-T H.273), as videos and HEIF files do."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

_D65, _C, _P3 = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
# The chromaticities of red, green and blue, and of white.
_PRIMARIES = {
    1: ((0.640, 0.330, 0.300, 0.600, 0.150, 0.060), _D65),
    4: ((0.670, 0.330, 0.210, 0.710, 0.140, 0.080), _C),
    5: ((0.640, 0.330, 0.290, 0.600, 0.150, 0.060), _D65),
    6: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), _D65),
    7: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), _D65),
    8: ((0.681, 0.319, 0.243, 0.692, 0.145, 0.049), _C),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), _D65),
    11: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), _P3),
    12: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), _D65),
    22: ((0.630, 0.340, 0.295, 0.605, 0.155, 0.077), _D65),
}
_UNSPECIFIED = 2
# Those of standard videos are shown as sRGB's is, as browsers do.
_LIKE_SRGB = frozenset({1, 2, 6, 7, 11, 12, 13, 14, 15})
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}
# Neither libavif nor libheif converts from these.
_UNKNOWN_MATRICES = frozenset({3, 10, 11, 13, 14})


def why_unsupported(colour: tuple[int, int, int], has_profile: bool) -> str:
    """Returns why such colours cannot become sRGB, in a phrase; empty if they can.

    Args:
      colour: The primaries, the transfer function and the matrix.
      has_profile: Whether an ICC profile tells the colours; then only the matrix counts.
    """
    primaries, transfer, matrix = colour
    if matrix in _UNKNOWN_MATRICES:
        return f"colours by matrix {matrix} of H.273"
    if has_profile:
        return ""
    if transfer in _HIGH_DYNAMIC_RANGE:
        return f"colours of high dynamic range ({_HIGH_DYNAMIC_RANGE[transfer]})"
    if transfer not in _LIKE_SRGB and transfer not in _GAMMAS:
        return f"colours by transfer function {transfer} of H.273"
    if primaries not in _PRIMARIES and primaries != _UNSPECIFIED:
        return f"colours by primaries {primaries} of H.273"
    return ""


@functools.lru_cache(maxsize=64)
def profile_of(colour: tuple[int, int, int], is_grey: bool) -> bytes:
    """Returns an ICC profile for colours that `why_unsupported` allows; empty if they are sRGB."""
    import imagecodecs

    primaries, transfer, _ = colour
    known = _PRIMARIES[1] if primaries == _UNSPECIFIED or is_grey else _PRIMARIES[primaries]
    if known is _PRIMARIES[1] and transfer in _LIKE_SRGB:
        return b""
    curve = _curve(transfer)
    if is_grey:
        return imagecodecs.cms_profile("gray", whitepoint=known[1], transferfunction=curve)
    return imagecodecs.cms_profile(
        "rgb", whitepoint=known[1], primaries=known[0], transferfunction=curve
    )


def _curve(transfer: int) -> npt.NDArray[np.uint16]:
    """Returns the light of 4,096 levels of a sample."""
    level = np.linspace(0, 1, 4096)
    if transfer in _LIKE_SRGB:
        light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    else:
        light = level ** _GAMMAS[transfer]
    return np.rint(light * 65535).astype(np.uint16)
