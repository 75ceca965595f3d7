"""The identity of a model: what a run records of it, and compares with other runs."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from image_features.models.scaling import Scaling


class Engine(enum.StrEnum):
    """The library that computes; `auto` is LiteRT unless the module does not compile."""

    AUTO = "auto"
    LITERT = "litert"
    TENSORFLOW = "tensorflow"


class Precision(enum.StrEnum):
    """The numbers that the network computes with.

    `float16` stores the weights in half and computes in single precision; on a GPU it is
    TensorFlow's automatic mixed precision. `int8` has weights of 8 bits, and activations
    quantized as they come (dynamic range).
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All of a model that the features depend on, and how exact they are.

    Attributes:
      handle: The name that the user gave: a directory, an archive, a URL or a built-in model.
      content_hash: The SHA-256 of the module's files; a worker that finds another one refuses to
        start.
      image_size: (height, width) of the images in pixels.
      num_features: The length of a feature vector.
      engine: LITERT or TENSORFLOW.
      precision: The numbers that the network computes with.
      max_cosine_difference: The largest cosine difference between compiled features and
        TensorFlow's, measured when the module was compiled.
      scaling: What becomes of pixels before the network sees them.
    """

    handle: str
    content_hash: str
    image_size: tuple[int, int]
    num_features: int
    engine: Engine = Engine.TENSORFLOW
    precision: Precision = Precision.FLOAT32
    max_cosine_difference: float = 0.0
    scaling: Scaling = Scaling()

    def to_json(self) -> dict[str, Any]:
        """Returns the `model` object of run.json; the caller removes secrets from the handle."""
        # Versions up to 0.2 knew only [0, 1], and recorded nothing.
        scaling = {} if self.scaling == Scaling() else {"scaling": self.scaling.to_json()}
        return {
            "handle": self.handle,
            "content_hash": self.content_hash,
            "image_size": list(self.image_size),
            "num_features": self.num_features,
            "engine": str(self.engine),
            "precision": str(self.precision),
            "max_cosine_difference": self.max_cosine_difference,
            **scaling,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelIdentity:
        """Reads the `model` object of run.json.

        The first versions did not measure the difference of compiled features; it is then 0.

        Raises:
          KeyError: A value is missing.
          ValueError: The engine or the precision is unknown, or the scaling is none.
        """
        height, width = values["image_size"]
        return cls(
            handle=values["handle"],
            content_hash=values["content_hash"],
            image_size=(height, width),
            num_features=values["num_features"],
            engine=Engine(values["engine"]),
            precision=Precision(values["precision"]),
            max_cosine_difference=values.get("max_cosine_difference", 0.0),
            scaling=Scaling.from_json(values.get("scaling", {})),
        )
