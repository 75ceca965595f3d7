"""Duplicates of photographs that are planted: what people and programs make of an image."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable, Iterator, Mapping

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from benchmarks import corpus

ORIGINAL = "original"
# What is shown of an image when it is turned is cut to this share, so that no corner is empty.
_TURNED = 0.92


def _resized(image: Image.Image) -> Image.Image:
    size = max(1, image.width // 2), max(1, image.height // 2)
    return image.resize(size, Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, share: float = 0.95) -> Image.Image:
    """Cuts off each side as much, so that a share of the width and of the height is left."""
    x, y = round(image.width * (1 - share) / 2), round(image.height * (1 - share) / 2)
    return image.crop((x, y, image.width - x, image.height - y))


def _rotated(image: Image.Image) -> Image.Image:
    return _cropped(image.rotate(3, Image.Resampling.BICUBIC), _TURNED)


def _brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


def _captioned(image: Image.Image) -> Image.Image:
    """Adds a white bar below, of an eighth of the height, with words in it."""
    bar = max(12, image.height // 8)
    whole = Image.new("RGB", (image.width, image.height + bar), "white")
    whole.paste(image)
    pen = ImageDraw.Draw(whole)
    pen.text((bar // 3, image.height + bar // 4), "A photograph, 2026", "black", font_size=bar // 2)
    return whole


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


# By the name in the table: what is done, and the quality of the JPEG that is written.
VARIANTS: Mapping[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "recompressed q75": (_as_it_is, 75),
    "recompressed q50": (_as_it_is, 50),
    "resized to half": (_resized, 90),
    "cropped by 5 %": (_cropped, 90),
    "brightness +10 %": (_brighter, 90),
    "rotated 3 degrees": (_rotated, 90),
    "mirrored": (ImageOps.mirror, 90),
    "caption bar": (_captioned, 90),
    "grey": (_grey, 90),
}


def plant(images: pathlib.Path, directory: pathlib.Path) -> int:
    """Writes the originals and all their variants as files `NUMBER-VARIANT.jpg` of one directory.

    Returns:
      The number of originals.

    Raises:
      ValueError: there are none.
    """
    directory.mkdir(parents=True)
    files = corpus.image_files(images)
    for number, path in enumerate(files):
        data = path.read_bytes()
        (directory / file_name(number, ORIGINAL)).write_bytes(data)
        for name, variant in variants(data):
            (directory / file_name(number, name)).write_bytes(variant)
    return len(files)


def variants(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields the variants of an image, by their names."""
    with Image.open(io.BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    for name, (change, quality) in VARIANTS.items():
        out = io.BytesIO()
        change(image).save(out, "JPEG", quality=quality)
        yield name, out.getvalue()


def file_name(number: int, variant: str) -> str:
    """Returns the name of the file of a variant of an original."""
    return f"{number:06}-{variant.replace(' ', '_').replace('%', 'pc')}.jpg"


def parse_name(path: str) -> tuple[int, str]:
    """Returns the number of the original and the variant that a file is."""
    number, _, variant = pathlib.PurePath(path).stem.partition("-")
    names = {pathlib.PurePath(file_name(0, name)).stem[7:]: name for name in (ORIGINAL, *VARIANTS)}
    return int(number), names[variant]
