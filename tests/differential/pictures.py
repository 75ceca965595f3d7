"""The pictures that other programs are asked to write, of all kinds of samples."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.differential.viewers import run
from tests.images.sample import picture

_WIDTH, _HEIGHT = 64, 48


def make_pictures(directory: pathlib.Path, vips: str) -> None:
    """Writes a PNG of 8 bits of each kind, and a file of libvips for what PNG cannot hold."""
    colours = picture(_WIDTH, _HEIGHT)
    across = np.linspace(0, 255, _WIDTH).astype(np.uint8)
    alpha = np.broadcast_to(across, colours.shape[:2])
    kinds = {
        "rgb": colours,
        "grey": colours[..., 2],
        "rgba": np.dstack([colours, alpha]),
        "cutout": np.dstack([colours, np.where(alpha > 100, 255, 0).astype(np.uint8)]),
    }

    def make(name: str, *operation: str) -> None:
        command = [vips, operation[0], str(directory / operation[1]), str(directory / f"{name}.v")]
        run([*command, *operation[2:]])

    for name, pixels in kinds.items():
        Image.fromarray(pixels).save(directory / f"{name}.png")
        make(name, "copy", f"{name}.png")
    for name in ("rgb", "grey"):
        for kind, samples in _samples(kinds[name]).items():
            (directory / "raw").write_bytes(samples.tobytes())
            bands = "3" if name == "rgb" else "1"
            meaning = {("rgb", 2): "rgb16", ("rgb", 1): "srgb", ("grey", 2): "grey16"}
            told = meaning.get((name, samples.itemsize), "srgb" if name == "rgb" else "b-w")
            options = ["--format", kind, "--interpretation", told]
            make(f"{name}_{kind}", "rawload", "raw", str(_WIDTH), str(_HEIGHT), bands, *options)
    make("lab", "colourspace", "rgb.png", "lab")
    make("labs", "colourspace", "rgb.png", "labs")
    make("cmyk", "icc_export", "rgb.png", "--output-profile", "cmyk")
    make("cmyk_ushort", "cast", "cmyk.v", "ushort", "--shift")


def _samples(values: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Returns samples of all kinds, whose lowest value is black and whose highest is white."""
    parts = values / 255
    kinds: dict[str, npt.NDArray[Any]] = {"float": parts.astype(np.float32), "double": parts}
    for name, bits in (("char", 8), ("short", 16), ("int", 32)):
        unsigned = np.rint(parts * (2**bits - 1))
        kinds[f"u{name}"] = unsigned.astype(f"u{bits // 8}")
        kinds[name] = (unsigned - 2 ** (bits - 1)).astype(f"i{bits // 8}")
    return kinds
