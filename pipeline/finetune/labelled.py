"""Images in memory, with or without labels, for work on models and not for extraction."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from image_features.errors import UsageError
from image_features.pipeline.locations import explain
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.reader import ImageReader, grouped
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import ManifestSpec, check_whole
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import ImageError, ImageRef

_THREADS = 16


@dataclasses.dataclass(frozen=True)
class Images:
    """Decoded images.

    Attributes:
      pixels: The images, uint8 [count, height, width, 3].
      labels: The label of each image; empty if no column of labels was asked for.
      failed: The number of rows that gave no image, by reason.
    """

    pixels: npt.NDArray[np.uint8]
    labels: tuple[str, ...]
    failed: dict[str, int]


def examine_images(
    location: str, *, label_column: str | None = None, uri_column: str | None = None
) -> ManifestSpec:
    """Reads the head of a manifest, and makes sure that it has the columns.

    Args:
      location: A manifest, or without labels also a directory or a glob.
      label_column: The name of the column of labels; None asks for none.
      uri_column: The name of the column of URIs; None finds it.

    Raises:
      UsageError: the location cannot be read, or lacks a column.
    """
    try:
        sources = find_sources([location])
        spec = examine(sources, uri_column=uri_column, declared={}, http=HttpPolicy()).spec
        check_whole(spec)
    except FetchError as error:
        raise UsageError(f"{location} cannot be read: {error}") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{location} cannot be used: {explain(error)}.") from error
    if label_column is not None and label_column not in spec.schema:
        raise UsageError(
            f"{location} has no column {label_column!r} besides the URIs (it has: "
            f"{', '.join(spec.schema) or 'none'}); name the labels' with --label_column."
        )
    return spec


def read_images(
    location: str,
    *,
    policy: DecodePolicy,
    label_column: str | None = None,
    uri_column: str | None = None,
) -> Images:
    """Reads and decodes images exactly as `extract` does, into memory.

    Args:
      location: A manifest, or without labels also a directory or a glob.
      policy: The rules by which files become pixels.
      label_column: The name of the column of labels; a row without a label counts as failed.
      uri_column: The name of the column of URIs; None finds it.

    Raises:
      UsageError: the location cannot be read, lacks the column, or gives no image.
    """
    spec = examine_images(location, label_column=label_column, uri_column=uri_column)
    failed: Counter[str] = Counter()
    wanted: list[ImageRef] = []
    for row in read_all(spec):
        if isinstance(row, ImageError):
            failed[str(row.reason)] += 1
        elif label_column is not None and dict(row.columns).get(label_column) is None:
            failed["no_label"] += 1
        else:
            wanted.append(row)
    found: dict[int, npt.NDArray[np.uint8]] = {}
    numbers = {id(ref): number for number, ref in enumerate(wanted)}
    reader = ImageReader(decode=policy, fetch=FetchPolicy(threads=_THREADS))

    def read(refs: Sequence[ImageRef]) -> None:
        for ref, image in reader.read_together(refs):
            if isinstance(image, ImageError):
                failed[str(image.reason)] += 1
            else:
                found[numbers[id(ref)]] = image.pixels

    with reader, ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, grouped(wanted)))
    pixels = [found[number] for number in sorted(found)]
    if not pixels:
        raise UsageError(f"{location} gives no image (failed rows: {dict(failed) or 'none'}).")
    labels = [str(dict(wanted[n].columns)[label_column]) for n in sorted(found) if label_column]
    return Images(np.stack(pixels), tuple(labels), dict(failed))
