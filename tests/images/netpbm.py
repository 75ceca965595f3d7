"""PBM, PGM, PPM, PAM and PFM: every kind of samples, plain and binary, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.values import Reason
from tests.images.sample import Sample, as_rgb, grey, picture

_Values = npt.NDArray[Any]
_COMMENTS = b"# one\n#two #three\n\n \t#\n"
_RANGES = "ImageMagick takes the range of floats for 0 to 1."
_SPACES = "ImageMagick knows fewer kinds of spaces."
_PAM_DIFFERENCES = {
    "pam_rgb_alpha_4_4095": "ImageMagick makes all of it transparent.",
    "pam_untold_1_255": "ImageMagick wants the type.",
}


def samples() -> list[Sample]:
    """Returns the samples of netpbm's formats."""
    each = (_bitmaps, _whites, _plain, _comments, _pam, _floats, _refused)
    return list(itertools.chain.from_iterable(make() for make in each))


def _binary(values: _Values, white: int) -> bytes:
    return values.astype(">u2" if white > 255 else np.uint8).tobytes()


def _text(values: _Values) -> bytes:
    """Returns numbers that are parted by spaces of every kind."""
    spaces = (b" ", b"\n", b"\t", b"\r\n", b"  ", b"\v", b"\f")
    words = [b"%d%s" % (value, spaces[i % 7]) for i, value in enumerate(values.ravel().tolist())]
    return b"".join(words)


def _scaled(levels: _Values, white: int) -> tuple[_Values, _Values]:
    """Returns samples of this white, and the levels that they then are."""
    values = np.rint(levels / 255 * white).astype(np.int64)
    return values, np.floor(values / white * 255 + 0.5).astype(np.uint8)


def _bitmaps() -> Iterator[Sample]:
    dark = (np.add.outer(np.arange(12) ** 2, np.arange(15)) % 3 == 0).astype(np.uint8)
    seen = as_rgb(np.where(dark, 0, 255))
    yield Sample("pbm", b"P4\n15 12\n" + np.packbits(dark, axis=1).tobytes(), seen, 0)
    yield Sample("pbm_plain", b"P1\n15 12\n" + _text(dark), seen, 0, _SPACES)
    rows = [b"".join(b"%d" % value for value in row) for row in dark.tolist()]
    yield Sample("pbm_plain_together", b"P1\n15 12\n" + b"\n".join(rows) + b"\n", seen, 0)
    yield Sample("pbm_plain_one_word", b"P1\n15 12\n" + b"".join(rows), seen, 0)


def _whites() -> Iterator[Sample]:
    for white in (1, 2, 15, 100, 127, 255, 256, 1000, 1023, 4095, 32767, 65535):
        values, seen = _scaled(grey(), white)
        head = b"P5\n16 12\n%d\n" % white
        yield Sample(f"pgm_{white}", head + _binary(values, white), as_rgb(seen), 0)
        values, seen = _scaled(picture(), white)
        head = b"P6\n16 12\n%d\n" % white
        yield Sample(f"ppm_{white}", head + _binary(values, white), seen, 0)


def _plain() -> Iterator[Sample]:
    for white in (1, 7, 255, 1023, 65535):
        values, seen = _scaled(grey(), white)
        yield Sample(
            f"pgm_plain_{white}", b"P2 16 12 %d\n" % white + _text(values), as_rgb(seen), 0
        )
        values, seen = _scaled(picture(), white)
        yield Sample(f"ppm_plain_{white}", b"P3\n16 12\n%d " % white + _text(values), seen, 0)
    values = grey()
    text = b" ".join(b"%05d" % value for value in values.ravel().tolist())
    why = "ImageMagick fails."
    yield Sample("pgm_plain_zeros_before", b"P2\n16 12\n255\n" + text, as_rgb(values), 0, why)
    text = _text(values) + b"and more\n"
    yield Sample("pgm_plain_more_after", b"P2\n16 12\n255\n" + text, as_rgb(values), 0)


def _comments() -> Iterator[Sample]:
    values = grey()
    seen = as_rgb(values)
    head = b"P5" + b"%b16 %b12\r%b255" % ((_COMMENTS,) * 3)
    yield Sample("pgm_comments", head + b"\n" + values.tobytes(), seen, 0)
    yield Sample("pgm_comment_before_samples", head + b"# last\n" + values.tobytes(), seen, 0)
    # One space is before the samples, and what follows it is a sample whatever it looks like.
    hashes = np.full((12, 16), ord("#"), np.uint8)
    yield Sample(
        "pgm_samples_like_comments", b"P5 16 12 255\n" + hashes.tobytes(), as_rgb(hashes), 0
    )
    text = _text(values).replace(b"\n", b"# 1 2 3\n4\r"[:8]).replace(b"\r\n", b"#9\r")
    yield Sample("pgm_plain_comments", b"P2\n16 12\n255#\n" + text, seen, 0)
    words = [b"%d#%d\n" % (value, value) for value in values.ravel().tolist()]
    yield Sample("pgm_plain_comment_each", b"P2\n16 12\n255\n" + b"".join(words), seen, 0)


def _pam() -> Iterator[Sample]:
    def head(depth: int, white: int, kind: str) -> bytes:
        lines = f"P7\n# PAM\nWIDTH 16\nHEIGHT 12\n\nDEPTH {depth}\nMAXVAL {white}\n"
        return (lines + (f"TUPLTYPE {kind}\n" if kind else "") + "ENDHDR\n").encode()

    alpha = np.rint(np.linspace(0, 255, 192)).astype(np.uint8).reshape(12, 16, 1)
    for kind, depth, white in (
        ("BLACKANDWHITE", 1, 1),
        ("GRAYSCALE", 1, 255),
        ("GRAYSCALE", 1, 1023),
        ("RGB", 3, 255),
        ("RGB", 3, 65535),
        ("BLACKANDWHITE_ALPHA", 2, 1),
        ("GRAYSCALE_ALPHA", 2, 255),
        ("RGB_ALPHA", 4, 255),
        ("RGB_ALPHA", 4, 4095),
        ("", 1, 255),
        ("", 3, 255),
    ):
        levels = picture() if depth > 2 else grey()[..., None]
        if depth % 2 == 0:
            levels = np.concatenate([levels, alpha], axis=2)
        values, seen = _scaled(levels, white)
        colour, weight = seen, 1.0
        if depth % 2 == 0:
            colour, weight = seen[..., :-1], seen[..., -1:] / 255
        flat = np.rint(colour * weight + 255 * (1 - weight)).astype(np.uint8)
        flat = np.broadcast_to(flat, (12, 16, 3))
        data = head(depth, white, kind) + _binary(values, white)
        name = f"pam_{kind.lower() or 'untold'}_{depth}_{white}"
        yield Sample(name, data, flat, 1, _PAM_DIFFERENCES.get(name, ""))


def _floats() -> Iterator[Sample]:
    for order, scale in (("<", b"-1.0"), (">", b"1"), ("<", b"-2.5e-1")):
        levels = grey()
        samples = (levels[::-1] / 255).astype(f"{order}f4").tobytes()
        name = f"{'little' if order == '<' else 'big'}_{scale.decode().lstrip('-')}"
        why = "ImageMagick multiplies by the scale." if b"2" in scale else ""
        data = b"Pf\n16 12\n" + scale + b"\n" + samples
        yield Sample(f"pfm_grey_{name}", data, as_rgb(levels), 0, why)
        rgb = picture()
        samples = (rgb[::-1] / 255).astype(f"{order}f4").tobytes()
        data = b"PF\n16 12\n" + scale + b"\n" + samples
        yield Sample(f"pfm_rgb_{name}", data, rgb, 0, why)
    kept = grey()[::-1].astype("<f4").tobytes()
    data = b"Pf\n#vips2ppm - 2026\n16 12\n-1\n" + kept
    yield Sample("pfm_comment", data, as_rgb(grey()), 0, _RANGES)
    yield Sample("pfm_255", b"Pf 16 12 -1\n" + kept, as_rgb(grey()), 0, _RANGES)
    wide = np.linspace(-1000, 3000, 192).reshape(12, 16)
    seen = np.rint((wide + 1000) / 4000 * 255)
    data = b"Pf\n16 12\n-1\n" + wide[::-1].astype("<f4").tobytes()
    yield Sample("pfm_stretched", data, as_rgb(seen), 1, _RANGES)
    odd = grey() / 255
    odd[0, :3], odd[1, :4] = np.nan, np.inf
    seen = as_rgb(np.rint(np.nan_to_num(odd, nan=odd[0, 3], posinf=1) * 255))
    seen[0, :3] = np.rint(255 * (grey()[0, 3] / 255))
    data = b"Pf\n16 12\n-1\n" + odd[::-1].astype("<f4").tobytes()
    yield Sample("pfm_no_numbers", data, seen, 0, "ImageMagick makes other things of no number.")


def _refused() -> Iterator[Sample]:
    rows = bytes(16 * 12)

    def head(text: str) -> bytes:
        return text.encode() + rows

    corrupt = {
        "ppm_white_0": head("P5\n16 12\n0\n"),
        "ppm_white_65536": head("P5\n16 12\n65536\n"),
        "ppm_words": head("P5\n16 x12\n255\n"),
        "ppm_no_width": head("P5\n0 12\n255\n"),
        "pgm_above_white": b"P5\n16 12\n100\n" + b"\x65" * 192,
        "pgm_plain_above_white": b"P2\n16 12\n100\n" + b"101 " * 192,
        "pbm_plain_2": b"P1\n16 12\n" + b"2 " * 192,
        "pgm_plain_negative": b"P2\n16 12\n100\n" + b"-1 " * 192,
        "pgm_plain_words": b"P2\n16 12\n100\n" + b"1 " * 100 + b"one two three " * 90,
        "pgm_plain_fractions": b"P2\n16 12\n100\n" + b"1.5 " * 192,
        "pgm_plain_long": b"P2\n16 12\n100\n" + b"0" * 5000,
        "pgm_endless_header": b"P5\n" + b"#\n" * 100_000 + b"16 12 255\n" + rows,
        "pam_without_depth": head("P7\nWIDTH 16\nHEIGHT 12\nMAXVAL 255\nENDHDR\n"),
        "pfm_scale_0": head("PF\n16 12\n0\n"),
        "pfm_scale_nan": head("PF\n16 12\nnan\n"),
    }
    for name, data in corrupt.items():
        yield Sample(name, data, Reason.CORRUPT)
    truncated = {
        "ppm_cut_header": b"P5\n16 12",
        "ppm_cut_comment": b"P5\n16 12 # and",
        "ppm_cut": b"P6\n16 12\n255\n" + bytes(16 * 12 * 3 - 1),
        "pgm16_cut": b"P5\n16 12\n1023\n" + bytes(2 * 16 * 12 - 1),
        "pbm_cut": b"P4\n16 12\n" + bytes(23),
        "pgm_plain_cut": b"P2\n16 12\n255\n" + b"9 " * 191,
        "pbm_plain_cut": b"P1\n16 12\n" + b"1" * 191,
        "pfm_cut": b"Pf\n16 12\n-1\n" + bytes(4 * 16 * 12 - 1),
        "pam_cut": b"P7\nWIDTH 16\nHEIGHT 12\nDEPTH 1\nMAX",
    }
    for name, data in truncated.items():
        yield Sample(name, data, Reason.TRUNCATED)
    untold = "P7\nWIDTH 8\nHEIGHT 6\nDEPTH 4\nMAXVAL 255\nENDHDR\n"
    yield Sample("pam_untold_4", head(untold), Reason.UNSUPPORTED_PIXELS)
    cmyk = "P7\nWIDTH 8\nHEIGHT 6\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n"
    yield Sample("pam_cmyk", head(cmyk), Reason.UNSUPPORTED_PIXELS)
    yield Sample("pfm_alpha", head("PF4\n4 3\n-1\n"), Reason.UNSUPPORTED_PIXELS)
    large = b"P5\n99999 99999\n255\n"
    yield Sample("pgm_large", large + rows, Reason.TOO_MANY_PIXELS)
