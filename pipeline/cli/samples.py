"""The command `samples`: sample photographs to try things with."""

from __future__ import annotations

import argparse
import contextlib
import os

from image_features.errors import EXIT_OK, UsageError
from image_features.pipeline.cli.parsing import parse
from image_features.pipeline.streams import say
from image_features.system.disks import named_file
from image_features.system.paths import absolute

HELP = "write sample photographs to try things with"
# These photographs, in colour and grey, are in scikit-image's wheel; it would download others.
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cat",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "moon",
    "page",
    "rocket",
    "text",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's one argument."""
    parser.description = "Writes scikit-image's photographs as JPEG files."
    parser.add_argument("directory")


def run(argv: list[str]) -> int:
    """Writes the photographs.

    Raises:
      UsageError: scikit-image is not installed, or the photographs cannot be written.
    """
    options = parse("samples", add_arguments, argv)
    try:
        paths = write_samples(options.directory)
    except OSError as error:
        raise UsageError(
            f"The photographs cannot be written: {error.filename or options.directory}: "
            f"{error.strerror}."
        ) from error
    except ImportError as error:
        raise UsageError(
            "The sample photographs come with scikit-image: install the extra [samples], "
            "by pip install 'image-feature-extractor[samples]'."
        ) from error
    say(f"{len(paths)} photographs in {options.directory}")
    return EXIT_OK


def write_samples(directory: str) -> list[str]:
    """Writes the photographs as JPEG files and returns their paths.

    Raises:
      ImportError: scikit-image is not installed (extra `samples`).
      OSError: a photograph cannot be written.
    """
    import skimage.data
    from PIL import Image

    directory = absolute(directory)
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name in PHOTOGRAPHS:
        try:
            pixels = getattr(skimage.data, name)()
        except Exception:  # The wheel of this version lacks it, and there may be no network.
            continue
        path = os.path.join(directory, f"{name}.jpg")
        try:
            with named_file(path):
                Image.fromarray(pixels).save(path, quality=92)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise
        paths.append(path)
    return paths
