"""A corpus of as many images as a benchmark wants, out of the few there are."""

from __future__ import annotations

import pathlib
import random

from PIL import Image

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_DIRECTORY_SIZE = 1000
_MANIFEST = "manifest.txt"
# What files are encoded with: the settings of most of the web's.
_SETTINGS: dict[str, dict[str, int]] = {"png": {}, "webp": {"quality": 80}}
FORMATS = tuple(_SETTINGS)


def repeat(images: pathlib.Path, count: int, directory: pathlib.Path) -> pathlib.Path:
    """Makes distinct links to images, each as often as any other, give or take one.

    The paths differ, since the extractor drops a URI that it has seen. The files do not, so that
    a measurement has its input in the page cache.

    Args:
      images: The directory that holds the images, at any depth.
      count: The number of links.
      directory: The directory to make them in, in sub-directories of at most 1000; links and a
        manifest of an earlier call are replaced.

    Returns:
      The path of a manifest, a text file with one absolute path a line.

    Raises:
      ValueError: there is no image, or count is not positive.
    """
    if count < 1:
        raise ValueError(f"The count of images must be at least 1, and it is {count}.")
    files = image_files(images)
    # A shuffled order makes a small corpus like a large one.
    random.Random(0).shuffle(files)
    directory = directory.absolute()
    links = []
    for index in range(count):
        source = files[index % len(files)]
        parent = directory / f"{index // _DIRECTORY_SIZE:05}"
        if index % _DIRECTORY_SIZE == 0:
            parent.mkdir(parents=True, exist_ok=True)
        link = parent / f"{index:08}{source.suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(source)
        links.append(str(link))
    manifest = directory / _MANIFEST
    manifest.write_text("".join(f"{link}\n" for link in links))
    return manifest


def image_files(images: pathlib.Path) -> list[pathlib.Path]:
    """Returns the images that a directory holds at any depth, sorted.

    Raises:
      ValueError: there is none.
    """
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in _SUFFIXES)
    files = [path.resolve() for path in files if path.is_file()]
    if not files:
        raise ValueError(f"There is no image in {images}; name a directory that holds some.")
    return files


def encode_anew(images: pathlib.Path, directory: pathlib.Path, name: str) -> pathlib.Path:
    """Writes the pictures of images as files of another format, and returns their directory.

    Args:
      images: The directory that holds the images, at any depth.
      directory: The directory to write them to, which is made.
      name: One of `FORMATS`.

    Raises:
      ValueError: there is no image.
    """
    directory.mkdir(parents=True)
    for number, path in enumerate(image_files(images)):
        with Image.open(path) as image:
            # Nothing but the pixels comes along: a profile would be work for some only.
            picture = Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())
        picture.save(directory / f"{number:06}.{name}", name, **_SETTINGS[name])
    return directory
