"""The choice of what computes: a compiled flatbuffer where a module compiles, else TensorFlow.

The launcher prepares a model once, and every worker loads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterable

from image_features.errors import ModelError
from image_features.models.addresses import shown
from image_features.models.compiler import CompiledModel, NotCompilableError, compile_module
from image_features.models.declaration import choose_scaling
from image_features.models.feature_function import FeatureFunction
from image_features.models.handles import ResolvedModule, resolve
from image_features.models.identity import Engine, ModelIdentity, Precision
from image_features.models.quiet import import_tensorflow
from image_features.models.scaling import Scaling

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PreparedModel:
    """A model as the launcher hands it to the workers.

    Attributes:
      identity: The part that a run records.
      batch_size: The number of images that are handed to the engine together.
      directory: The launcher's directory of the module, or a .tar.gz of it that was put where
        workers find it; a worker that cannot read it resolves the handle itself.
      flatbuffer: The compiled model: a local path, or any other location that Beam can open; ""
        on TensorFlow.
      flatbuffer_sha256: The hexadecimal SHA-256 of that file; "" on TensorFlow.
    """

    identity: ModelIdentity
    batch_size: int = 32
    directory: str = ""
    flatbuffer: str = ""
    flatbuffer_sha256: str = ""

    @property
    def handle(self) -> str:
        """The name that the user gave the model."""
        return self.identity.handle

    @property
    def content_hash(self) -> str:
        """The SHA-256 of the module's files."""
        return self.identity.content_hash

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images in pixels."""
        return self.identity.image_size

    @property
    def num_features(self) -> int:
        """The length of a feature vector."""
        return self.identity.num_features

    @property
    def engine(self) -> Engine:
        """LITERT or TENSORFLOW."""
        return self.identity.engine

    @property
    def precision(self) -> Precision:
        """The numbers that the network computes with."""
        return self.identity.precision

    @property
    def max_cosine_difference(self) -> float:
        """The largest cosine difference between compiled features and TensorFlow's."""
        return self.identity.max_cosine_difference


def prepare(
    handle: str,
    *,
    engine: Engine = Engine.AUTO,
    precision: Precision = Precision.FLOAT32,
    batch_size: int = 32,
    scaling: Scaling | None = None,
    allow_probabilities: bool = False,
) -> PreparedModel:
    """Resolves a model and compiles it, once for all workers.

    Args:
      handle: The model, in any form that `handles.resolve` takes.
      engine: The library that computes; AUTO falls back to TensorFlow, and logs why.
      precision: The numbers to compute with; only LiteRT runs INT8.
      batch_size: The number of images that are handed to the engine together. TensorFlow runs
        as many at once, LiteRT as many as suit the processor's caches; both pad the last ones of
        a bundle.
      scaling: What becomes of pixels; None is what the module says itself, or else
        [0, 1], with a warning unless it is a Hub module.
      allow_probabilities: Whether the probabilities of a classifier will do for features.

    Raises:
      ModelError: The model cannot be resolved, is not an image feature vector model, gives no
        features that can be repeated, or cannot run as asked.
    """
    if engine is Engine.TENSORFLOW and precision is Precision.INT8:
        raise ModelError("TensorFlow does not run int8 here; pass --engine=litert with it.")
    module = resolve(handle)
    scaling = choose_scaling(module, scaling)
    if engine is not Engine.TENSORFLOW:
        try:
            compiled = compile_module(module, precision=precision, scaling=scaling)
        except NotCompilableError as error:
            if engine is Engine.LITERT or precision is not Precision.FLOAT32:
                raise ModelError(
                    f"The model {shown(handle)!r} does not run on LiteRT: {error}; pass "
                    "--engine=tensorflow --precision=float32."
                ) from error
            _log.warning("The model %r runs on TensorFlow, more slowly: %s.", shown(handle), error)
        else:
            if compiled.gives_probabilities and not allow_probabilities:
                raise probabilities_error(handle)
            return _on_litert(module, compiled, precision, batch_size, scaling)
    return _on_tensorflow(module, precision, batch_size, scaling, allow_probabilities)


def probabilities_error(handle: str, *, may_be_allowed: bool = True) -> ModelError:
    """Returns the error for a module that gives the probabilities of classes."""
    allow = ", or pass --allow_probabilities if you want them" if may_be_allowed else ""
    return ModelError(
        f"The model {shown(handle)!r} gives the probabilities of classes, which are no features: "
        "make a module that ends before them, with `image-features model convert --layer=NAME`"
        f"{allow}."
    )


def _on_litert(
    module: ResolvedModule,
    compiled: CompiledModel,
    precision: Precision,
    batch_size: int,
    scaling: Scaling,
) -> PreparedModel:
    identity = ModelIdentity(
        handle=module.handle,
        content_hash=module.content_hash,
        image_size=compiled.image_size,
        num_features=compiled.num_features,
        engine=Engine.LITERT,
        precision=precision,
        max_cosine_difference=compiled.max_cosine_difference,
        scaling=scaling,
    )
    return PreparedModel(identity, batch_size, module.directory, compiled.path, compiled.sha256)


def _on_tensorflow(
    module: ResolvedModule,
    precision: Precision,
    batch_size: int,
    scaling: Scaling,
    allow_probabilities: bool,
) -> PreparedModel:
    from image_features.models.module import FeatureModule
    from image_features.models.soundness import examine

    import_tensorflow(threads_per_operation=1)  # Batches run side by side.
    loaded = FeatureModule.load(module.directory, batch_size=batch_size, scaling=scaling)
    if examine(loaded) and not allow_probabilities:
        raise probabilities_error(module.handle)
    identity = ModelIdentity(
        handle=module.handle,
        content_hash=module.content_hash,
        image_size=loaded.image_size,
        num_features=loaded.num_features,
        engine=Engine.TENSORFLOW,
        precision=precision,
        scaling=scaling,
    )
    return PreparedModel(identity, loaded.batch_size, module.directory)


def image_sizes(models: Iterable[PreparedModel]) -> tuple[tuple[int, int], ...]:
    """Returns the different sizes, (height, width) in pixels, that models take, in any order.

    The order is always the same, so that it is nothing by which two runs differ.
    """
    return tuple(sorted({model.image_size for model in models}))


def load(model: PreparedModel) -> FeatureFunction:
    """Loads a prepared model in a worker.

    Raises:
      ModelError: The model cannot be loaded, or is not the one that was launched.
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
                f"The module {shown(model.handle)} has changed since the job was launched (hash "
                f"{module.content_hash:.12}, launched with {model.content_hash:.12}); launch it "
                "again."
            )
        directory = module.directory

    def load_on(device: str | None) -> FeatureModule:
        return FeatureModule.load(
            directory, batch_size=model.batch_size, scaling=model.identity.scaling, device=device
        )

    gpus = find_gpus(mixed_precision=model.precision is Precision.FLOAT16)
    return ModulePerDevice(load_on, gpus) if gpus else load_on(None)


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
