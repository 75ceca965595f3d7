"""What a module says about itself in a file beside its graph, which `model convert` writes."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from image_features.errors import ModelError
from image_features.models.scaling import Scaling

# SavedModels may carry files of others in this directory; all of them count for the content hash.
_DIRECTORY, _NAME = "assets.extra", "image_features.json"


@dataclasses.dataclass(frozen=True, slots=True)
class ModuleMetadata:
    """What a module's file says.

    Attributes:
      scaling: The numbers that the model takes for pixels; None if nobody has said.
      source: What the module was made of, in words; empty if unknown.
      layer: The layer whose output the features are; empty if it is not a layer's.
      pooling: What was done with the positions of a feature map: "avg", "max" or "".
    """

    scaling: Scaling | None = None
    source: str = ""
    layer: str = ""
    pooling: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file."""
        words = {"source": self.source, "layer": self.layer, "pooling": self.pooling}
        known = {name: word for name, word in words.items() if word}
        return known | (self.scaling.to_json() if self.scaling else {})


def write_metadata(directory: str, metadata: ModuleMetadata) -> None:
    """Writes what a module says about itself into the module's directory."""
    os.makedirs(os.path.join(directory, _DIRECTORY), exist_ok=True)
    with open(os.path.join(directory, _DIRECTORY, _NAME), "w", encoding="utf-8") as file:
        json.dump(metadata.to_json(), file, indent=2, sort_keys=True)


def read_metadata(directory: str) -> ModuleMetadata:
    """Reads what a module says about itself; nothing where there is no file.

    Raises:
      ModelError: The file is there and cannot be understood.
    """
    path = os.path.join(directory, _DIRECTORY, _NAME)
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        states = any(name in values for name in ("input_range", "mean", "std"))
        return ModuleMetadata(
            Scaling.from_json(values) if states else None,
            *(str(values.get(name, "")) for name in ("source", "layer", "pooling")),
        )
    except FileNotFoundError:
        return ModuleMetadata()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The file {path!r} of the module cannot be understood ({error}); mend it, or make the "
            "module anew with `image-features model convert`."
        ) from error
