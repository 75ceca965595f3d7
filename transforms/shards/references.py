"""Orders of references."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from image_features.transforms.manifests.sources import Source
from image_features.transforms.values import ImageRef


def lies_at(ref: ImageRef) -> tuple[Any, ...]:
    """Returns what sorts references of a span in the order of their archive."""
    return ref.place or (), ref.uri


def places_of(sources: Iterable[Source]) -> dict[str, int]:
    """Returns the places of sources in the input, by their locations."""
    return {source.location: place for place, source in enumerate(sources)}
