"""Manifests of one URI a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.rows import ManifestRow


def read_text(file: IO[bytes]) -> Iterator[ManifestRow]:
    """Yields the rows of a text file: a URI a line."""
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield ManifestRow(number, problem=f"the line is not UTF-8: {line[:80]!r}")
            continue
        if text and not text.startswith("#"):
            yield ManifestRow(number, text)
