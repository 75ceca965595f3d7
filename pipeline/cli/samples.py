"""Writes sample photographs for a first run: those that scikit-image ships."""

from __future__ import annotations

import os

# Colour and grey photographs inside scikit-image's own wheel; the others would download.
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


def write_samples(directory: str) -> list[str]:
    """Writes the photographs as JPEG files and returns their paths.

    Raises:
      ImportError: scikit-image is not installed (extra `samples`).
    """
    import skimage.data
    from PIL import Image

    os.makedirs(directory, exist_ok=True)
    paths = []
    for name in PHOTOGRAPHS:
        try:
            pixels = getattr(skimage.data, name)()
        except Exception:  # Not in this version's wheel, and there may be no network.
            continue
        path = os.path.join(directory, f"{name}.jpg")
        Image.fromarray(pixels).save(path, quality=92)
        paths.append(path)
    return paths
