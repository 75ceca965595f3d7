"""What runs a feature module: a compiled flatbuffer where that can be, else TensorFlow."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import logging
import os
from typing import Protocol

import numpy as np
import numpy.typing as npt

from image_features.models.compiler import NotCompilableError, Precision, compile_module
from image_features.models.errors import ModelError
from image_features.models.handles import resolve
from image_features.models.quiet import import_tensorflow

_log = logging.getLogger(__name__)


class Engine(enum.StrEnum):
    """What computes; `auto` is LiteRT unless the module does not compile."""

    AUTO = "auto"
    LITERT = "litert"
    TENSORFLOW = "tensorflow"


class FeatureFunction(Protocol):
    """uint8 [N, height, width, 3] to float32 [N, num_features]; safe in many threads.

    Attributes:
      parallelism: Calls worth making at once; None for one a core.
    """

    parallelism: int | None

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...


@dataclasses.dataclass(frozen=True)
class PreparedModel:
    """A model as the workers are told of it.

    Attributes:
      handle: What the user named.
      content_hash: Of the module's files; a worker that finds another refuses to start.
      image_size: (height, width) in pixels that it takes.
      num_features: Length of a feature vector.
      batch_size: Images that are handed to the engine together.
      engine: LITERT or TENSORFLOW.
      precision: What it computes with.
      directory: Where the launcher has the module, or put a .tar.gz of it for the workers; one
        that cannot read it there resolves `handle` itself.
      flatbuffer: What LiteRT runs: a local path, or anything else that Beam can open; "" on
        TensorFlow.
      flatbuffer_sha256: Of that file, hexadecimal; "" on TensorFlow.
      max_cosine_difference: Of compiled features to TensorFlow's, measured when it was compiled.
    """

    handle: str
    content_hash: str
    image_size: tuple[int, int]
    num_features: int
    batch_size: int = 32
    engine: Engine = Engine.TENSORFLOW
    precision: Precision = Precision.FLOAT32
    directory: str = ""
    flatbuffer: str = ""
    flatbuffer_sha256: str = ""
    max_cosine_difference: float = 0.0


def prepare(
    handle: str,
    *,
    engine: Engine = Engine.AUTO,
    precision: Precision = Precision.FLOAT32,
    batch_size: int = 32,
    cache_dir: str | None = None,
) -> PreparedModel:
    """Resolves a model and compiles it, once for all workers.

    Args:
      handle: As `handles.resolve` takes it.
      engine: AUTO falls back to TensorFlow, and logs why.
      precision: INT8 is LiteRT's only.
      batch_size: Images that are handed to the engine together. TensorFlow runs as many at once,
        LiteRT as many as suit the processor's caches; both pad the last ones of a bundle.
      cache_dir: As `handles.resolve` takes it.

    Raises:
      ModelError: it cannot be had, is not an image feature vector model, or cannot run as asked.
    """
    if engine is Engine.TENSORFLOW and precision is Precision.INT8:
        raise ModelError("TensorFlow does not run int8 here; pass --engine=litert with it.")
    module = resolve(handle, cache_dir=cache_dir)
    if engine is not Engine.TENSORFLOW:
        try:
            compiled = compile_module(module, precision=precision, cache_dir=cache_dir)
        except NotCompilableError as error:
            if engine is Engine.LITERT or precision is not Precision.FLOAT32:
                raise ModelError(
                    f"The model {handle!r} does not run on LiteRT: {error}; pass "
                    "--engine=tensorflow --precision=float32."
                ) from error
            _log.warning("The model %r runs on TensorFlow, more slowly: %s.", handle, error)
        else:
            return PreparedModel(
                handle,
                module.content_hash,
                compiled.image_size,
                compiled.num_features,
                batch_size,
                Engine.LITERT,
                precision,
                module.directory,
                compiled.path,
                compiled.sha256,
                compiled.max_cosine_difference,
            )
    from image_features.models.module import FeatureModule

    import_tensorflow(threads_per_operation=1)  # Batches run side by side.
    loaded = FeatureModule.load(module.directory, batch_size=batch_size)
    return PreparedModel(
        handle,
        module.content_hash,
        loaded.image_size,
        loaded.num_features,
        loaded.batch_size,
        Engine.TENSORFLOW,
        precision,
        module.directory,
    )


def load(model: PreparedModel) -> FeatureFunction:
    """Loads a prepared model in a worker.

    Raises:
      ModelError: it cannot be loaded, or is not the launcher's.
    """
    if model.engine is Engine.LITERT:
        from image_features.models.litert import CompiledModule

        return CompiledModule(_read_flatbuffer(model))
    from image_features.models.devices import ModulePerDevice, find_gpus
    from image_features.models.module import FeatureModule

    import_tensorflow(threads_per_operation=1)  # Batches run side by side.
    directory = model.directory
    if not os.path.isdir(directory):
        staged = directory.endswith(".tar.gz")
        module = resolve(directory if staged else model.handle)
        if module.content_hash != model.content_hash:
            raise ModelError(
                f"The module {model.handle} has changed since the job was launched (hash "
                f"{module.content_hash:.12}, launched with {model.content_hash:.12}); launch it "
                "again."
            )
        directory = module.directory
    gpus = find_gpus(mixed_precision=model.precision is Precision.FLOAT16)
    if not gpus:
        return FeatureModule.load(directory, batch_size=model.batch_size)
    return ModulePerDevice(
        lambda gpu: FeatureModule.load(directory, batch_size=model.batch_size, device=gpu), gpus
    )


def _read_flatbuffer(model: PreparedModel) -> bytes:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(
            model.flatbuffer, compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            data = bytes(file.read())
    except Exception as error:  # Each file system has its own exceptions.
        raise ModelError(
            f"The compiled model {model.flatbuffer!r} cannot be read ({error}); workers must be "
            "able to read the output's location."
        ) from error
    if hashlib.sha256(data).hexdigest() != model.flatbuffer_sha256:
        raise ModelError(
            f"The compiled model {model.flatbuffer!r} is not the one that was launched; launch "
            "the job again."
        )
    return data
