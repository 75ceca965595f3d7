"""Who says what numbers a model takes for pixels: an option, the module, TensorFlow Hub, nobody."""

from __future__ import annotations

import enum
import logging
import os
import urllib.parse

from image_features.models.addresses import shown
from image_features.models.export import HUB_MODULE_MARKER
from image_features.models.handles import ResolvedModule, hub_archive_url
from image_features.models.metadata import read_metadata
from image_features.models.saved_model_files import choose_graph, read_graph
from image_features.models.scaling import Scaling

# The addresses of modules that follow TensorFlow Hub's conventions for images, by host and path.
_HUB = ("tfhub.dev/", "storage.googleapis.com/tfhub-modules/", "gs://tfhub-modules/")
# Version 0.2 wrote this beside modules that had learnt with [0, 1], and said no more.
_FINETUNED = ("assets.extra", "finetune.json")

_log = logging.getLogger(__name__)


class DeclaredBy(enum.StrEnum):
    """Where the numbers that a model takes for pixels are said."""

    MODULE = "module"  # A file in it, which `model convert` writes.
    HUB = "hub"  # TensorFlow Hub's convention: image modules take [0, 1].


def declared_scaling(module: ResolvedModule) -> tuple[Scaling, DeclaredBy | None]:
    """Returns what becomes of a model's pixels if the user says nothing, and who says so.

    Raises:
      ModelError: What the module says about itself, or its graph, cannot be understood.
    """
    if own := read_metadata(module.directory).scaling:
        return own, DeclaredBy.MODULE
    if os.path.isfile(os.path.join(module.directory, *_FINETUNED)):
        return Scaling(), DeclaredBy.MODULE
    is_hub = _is_on_hub(module.handle) or _is_hub_module(module.directory)
    return Scaling(), DeclaredBy.HUB if is_hub else None


def choose_scaling(module: ResolvedModule, stated: Scaling | None) -> Scaling:
    """Returns what the user has stated, or else what is declared; logs what may be wrong with it.

    Args:
      module: The model.
      stated: What becomes of pixels by an option; None if there is none.

    Raises:
      ModelError: What the module says about itself cannot be understood.
    """
    declared, by = declared_scaling(module)
    if stated is None and by is None:
        _log.warning(
            "The model %r does not say what numbers it takes for pixels, and gets %s: if it "
            "learnt with others its features mean little, so state them with --input_range (or "
            "--mean and --std), or record them in it with `image-features model convert`.",
            shown(module.handle),
            declared,
        )
    elif stated is not None and by is not None and stated != declared:
        _log.info(
            "The model %r takes pixels with %s by %s, and gets %s, as it is stated.",
            shown(module.handle),
            declared,
            "its own word" if by is DeclaredBy.MODULE else "TensorFlow Hub's convention",
            stated,
        )
    return declared if stated is None else stated


def _is_hub_module(directory: str) -> bool:
    """Whether a module is in Hub's format; where its marker was lost, the graph's tags tell."""
    if os.path.isfile(os.path.join(directory, HUB_MODULE_MARKER)):
        return True
    return choose_graph(read_graph(directory), directory)[1] == "tf1_hub"


def _is_on_hub(handle: str) -> bool:
    """Whether a handle is an address on TensorFlow Hub, or of a page that is asked as one."""
    if handle.lower().startswith(("http://", "https://")):
        parts = urllib.parse.urlsplit(handle)
        asked = "tf-hub-format=" in hub_archive_url(handle)
        return asked or f"{parts.hostname}{parts.path}".startswith(_HUB)
    return handle.startswith(_HUB)
