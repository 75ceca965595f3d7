"""The compiler from modules to LiteRT flatbuffers, and the cache of what it has compiled."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_features.errors import ModelError
from image_features.models.addresses import shown
from image_features.models.cache import CACHE_VARIABLE, cache_root, make_entry
from image_features.models.first_line import first_line
from image_features.models.handles import ResolvedModule
from image_features.models.identity import Precision
from image_features.models.quiet import import_tensorflow
from image_features.models.scaling import Scaling

if TYPE_CHECKING:
    from image_features.models.module import FeatureModule

_COMPILER_VERSION = 3  # Raise it when the same module would be compiled otherwise.
_FLATBUFFER = "model.tflite"
_DESCRIPTION = "model.json"
# One run takes 8 images of 96x96 pixels, or one of 224x224. The activations of more fall out of
# the caches: with a thread on each of two cores, runs of 8 take 18 % less time an image than runs
# of 32 (docs/performance.md).
_PIXELS_PER_RUN = 8 * 96 * 96
# Float32 arithmetic in another order stays below these; a larger difference is another result.
MAX_COSINE_DIFFERENCE = 1e-5
MAX_RELATIVE_DIFFERENCE = 1e-3

_log = logging.getLogger(__name__)


class NotCompilableError(ModelError):
    """The module has to run on TensorFlow; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class CompiledModel:
    """A flatbuffer in the cache.

    Attributes:
      path: The flatbuffer, a local file.
      sha256: The hexadecimal SHA-256 of the file.
      image_size: (height, width) of the images in pixels.
      num_features: The length of a feature vector.
      max_cosine_difference: The largest cosine difference from the features that TensorFlow
        computes for synthetic images.
      max_relative_difference: The largest difference of a single value from TensorFlow's, in parts
        of its vector's largest value.
      gives_probabilities: Whether they are the probabilities of classes, and no features.
    """

    path: str
    sha256: str
    image_size: tuple[int, int]
    num_features: int
    max_cosine_difference: float
    max_relative_difference: float
    gives_probabilities: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the description that lies beside the flatbuffer, without its path."""
        return {
            "sha256": self.sha256,
            "image_size": list(self.image_size),
            "num_features": self.num_features,
            "max_cosine_difference": self.max_cosine_difference,
            "max_relative_difference": self.max_relative_difference,
            "gives_probabilities": self.gives_probabilities,
        }

    @classmethod
    def from_json(cls, path: str, values: Mapping[str, Any]) -> CompiledModel:
        """Reads the description of the flatbuffer at a path."""
        height, width = values["image_size"]
        return cls(
            path=path,
            sha256=values["sha256"],
            image_size=(height, width),
            num_features=values["num_features"],
            max_cosine_difference=values["max_cosine_difference"],
            max_relative_difference=values["max_relative_difference"],
            gives_probabilities=values["gives_probabilities"],
        )


def compile_module(
    module: ResolvedModule,
    *,
    precision: Precision = Precision.FLOAT32,
    scaling: Scaling | None = None,
) -> CompiledModel:
    """Compiles a module, or finds it compiled; only the former needs TensorFlow.

    Args:
      module: The module to compile.
      precision: The numbers that weights are stored in and the network computes with.
      scaling: What becomes of pixels, where the module does not say it itself.

    Raises:
      NotCompilableError: LiteRT cannot run the module, or gives other features than TensorFlow.
      ModelError: The module is not an image feature vector module, or gives no features that can
        be repeated.
    """
    versions = [importlib.metadata.version(p) for p in ("tensorflow", "ai-edge-litert")]
    key: list[Any] = [module.content_hash, precision, _COMPILER_VERSION, *versions]
    if scaling is not None:
        key.append(scaling.to_json())
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    target = os.path.join(cache_root(), f"compiled-{name}")
    found = _read(target)
    if found is None:
        _log.info(
            "Compiling the model %s, once for this machine; that takes up to a minute.",
            shown(module.handle),
        )
        make_entry(target, lambda staging: _write(module, precision, scaling, staging))
        found = _read(target)
    if found is None:
        raise ModelError(f"The compiled model in {target!r} is damaged; check that disk.")
    return found


def _read(directory: str) -> CompiledModel | None:
    """Returns a compiled model of the cache; None if it is not there, or not as it was written."""
    path = os.path.join(directory, _FLATBUFFER)
    try:
        with open(os.path.join(directory, _DESCRIPTION), encoding="utf-8") as file:
            found = CompiledModel.from_json(path, json.load(file))
        with open(path, "rb") as flatbuffer:
            digest = hashlib.file_digest(flatbuffer, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:
        raise ModelError(
            f"{error.filename or path!r} in the model cache cannot be read ({error.strerror}); "
            f"remove {directory!r}, or set {CACHE_VARIABLE} to another directory."
        ) from error
    return found if digest == found.sha256 else None


def _write(
    module: ResolvedModule, precision: Precision, scaling: Scaling | None, staging: str
) -> None:
    from image_features.models.litert import CompiledModule
    from image_features.models.module import FeatureModule
    from image_features.models.soundness import examine
    from image_features.models.verify import compare, synthetic_images

    import_tensorflow(threads_per_operation=1)  # Batches run side by side.
    source = FeatureModule.load(module.directory, batch_size=1, scaling=scaling)
    probabilities = examine(source)
    flatbuffer = _convert(source, precision)
    try:
        compiled = CompiledModule(flatbuffer)
        difference = compare(compiled, source, synthetic_images(*source.image_size))
    except Exception as error:  # LiteRT raises RuntimeError and ValueError for what it cannot run.
        raise NotCompilableError(f"LiteRT cannot run it ({first_line(error)})") from error
    cosine, relative = difference.max_cosine, difference.max_relative
    if precision is Precision.FLOAT32 and not (
        cosine <= MAX_COSINE_DIFFERENCE and relative <= MAX_RELATIVE_DIFFERENCE
    ):
        raise NotCompilableError(
            f"its features differ from TensorFlow's (cosine by {cosine:.1e}, values by "
            f"{relative:.1e} of the largest)"
        )
    _log.info(
        "Compiled %s in %s: features differ from TensorFlow's by %.1e in cosine.",
        shown(module.handle),
        precision,
        cosine,
    )
    written = CompiledModel(
        path=os.path.join(staging, _FLATBUFFER),
        sha256=hashlib.sha256(flatbuffer).hexdigest(),
        image_size=source.image_size,
        num_features=source.num_features,
        max_cosine_difference=cosine,
        max_relative_difference=relative,
        gives_probabilities=probabilities,
    )
    with open(written.path, "wb") as file:
        file.write(flatbuffer)
    with open(os.path.join(staging, _DESCRIPTION), "w", encoding="utf-8") as file:
        json.dump(written.to_json(), file, indent=2)


def _convert(source: FeatureModule, precision: Precision) -> bytes:
    import tensorflow as tf

    height, width = source.image_size
    images = max(1, _PIXELS_PER_RUN // (height * width))
    function, owner = source.on_pixels(images)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], owner)
    if precision is not Precision.FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    try:
        flatbuffer: Any = converter.convert()
    except Exception as error:  # The converter lets MLIR's and its own errors out.
        raise NotCompilableError(f"it cannot be converted ({first_line(error)})") from error
    return bytes(flatbuffer)
