"""Images for tests, all drawn here."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
from PIL import Image


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """Draws red that grows to the right, green that grows downwards, and constant blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    pixels[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    pixels[..., 2] = 128
    return Image.fromarray(pixels)


def noise(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Draws a picture that is unlike any other seed's."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def bomb() -> bytes:
    """Returns a file of a few kilobytes with a hundred megapixels."""
    return encode(Image.new("1", (10_000, 10_000)), "PNG")


HTML = b"<!doctype html><html><body>Not found</body></html>"


def write(path: pathlib.Path, seed: int) -> None:
    """Writes a picture as a JPEG file."""
    path.write_bytes(encode(noise(seed)))


def write_noise(directory: pathlib.Path, count: int) -> pathlib.Path:
    """Makes a directory of so many pictures, and of a file that is broken."""
    directory.mkdir()
    for i in range(count):
        (directory / f"{i}.jpg").write_bytes(encode(noise(i)))
    (directory / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return directory
