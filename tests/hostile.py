"""A manifest whose URIs and columns try to become part of a page."""

from __future__ import annotations

import csv
import pathlib

from tests import images

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><svg/onload=alert(1)>"


def write_manifest(directory: pathlib.Path, count: int, evil: str) -> pathlib.Path:
    """Writes images and a manifest of them, of an image named `evil`, and of rows that fail."""
    directory.mkdir()
    rows = []
    for i in range(count):
        (directory / f"{i:02d}.jpg").write_bytes(images.encode(images.noise(i), quality=90))
        rows.append([f"{i:02d}.jpg", "ab"[i % 2], "plain"])
    # Slashes in the name make directories.
    named = directory / f"{evil}.jpg"
    named.parent.mkdir(parents=True)
    named.write_bytes(images.encode(images.noise(count), quality=90))
    rows += [
        [str(named), "a", evil],
        [f"{evil}.gif", "b", evil],
        [f"http://127.0.0.1/{evil}", "", ""],
    ]
    manifest = directory / "manifest.csv"
    with open(manifest, "w", newline="") as file:
        csv.writer(file).writerows([["uri", "label", HOSTILE], *rows])
    return manifest
