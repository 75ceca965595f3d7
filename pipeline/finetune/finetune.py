"""The work of `model finetune`: from a manifest with labels to a module that `extract` takes."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import UsageError
from image_features.models.convert import Conversion, convert
from image_features.models.declaration import choose_scaling
from image_features.models.engines import probabilities_error
from image_features.models.entries import stated_image_size
from image_features.models.files import staged_directory
from image_features.models.finetune import FinetuneResult, Report, finetune
from image_features.models.handles import resolve
from image_features.models.metadata import ModuleMetadata, read_metadata, write_metadata
from image_features.models.module import DEFAULT_IMAGE_SIZE, FeatureModule, load_saved_model
from image_features.models.scaling import Scaling
from image_features.models.soundness import examine
from image_features.models.tuner import FinetuneConfig, Finetuner
from image_features.pipeline.finetune.labelled import Images, examine_images, read_images
from image_features.system.disks import fault_of
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.stores.uris import redact_uri

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FinetuneJob:
    """The module to fine-tune, the images to learn from, and the place of the result.

    Attributes:
      model: The handle of the module; a TF1 Hub module is converted to TF2 first.
      train: The location of the manifest with labels.
      output: The directory of the new module, which must not exist. Besides the SavedModel it
        gets assets.extra/finetune.json and assets.extra/classifier.npz.
      work: The directory of checkpoints and logs; training goes on with what is there.
      label_column: The name of the column of labels.
      uri_column: The name of the column of URIs; None finds it.
      config: The settings of the training.
      scaling: What becomes of pixels; None is what the module says itself, or else [0, 1].
    """

    model: str
    train: str
    output: str
    work: str
    label_column: str
    uri_column: str | None
    config: FinetuneConfig
    scaling: Scaling | None = None


def run_finetune(job: FinetuneJob, report: Report) -> FinetuneResult:
    """Fine-tunes a module and writes the result as a module.

    Args:
      job: The module to fine-tune, the images and the place of the result.
      report: The callback for every step.

    Raises:
      UsageError: an argument cannot be used.
      ModelError: the module cannot be had or trained.
    """
    import tensorflow as tf

    if os.path.lexists(job.output):
        raise UsageError(f"--output={job.output} exists; name a directory that does not exist yet.")
    _check_writable("--output", os.path.dirname(os.path.abspath(job.output)))
    _check_writable("--work", os.path.abspath(job.work))
    # A look at the manifest is cheap, and loading the model is not.
    examine_images(job.train, label_column=job.label_column, uri_column=job.uri_column)
    tf.keras.utils.set_random_seed(job.config.seed)
    resolved = resolve(job.model)
    scaling = choose_scaling(resolved, job.scaling)
    _check(resolved.directory, redact_uri(job.model))
    loaded = _load_trainable(job.model, resolved.directory)
    size = stated_image_size(loaded, resolved.directory) or (DEFAULT_IMAGE_SIZE,) * 2
    images = read_images(
        job.train,
        label_column=job.label_column,
        uri_column=job.uri_column,
        policy=DecodePolicy(size),
    )
    classes, labels = _number_classes(images, job.train)
    tuner = Finetuner(loaded, resolved.directory, size, len(classes), job.config, scaling)
    try:
        result = finetune(tuner, images.pixels, labels, job.work, job.config, report)
    except Exception as error:  # TensorFlow has exceptions of its own.
        fault = fault_of(error)
        if not fault:
            raise
        raise UsageError(
            f"The checkpoints in {job.work} cannot be written ({fault}); make room there, and the "
            "same command goes on after the last whole pass."
        ) from error
    record = {
        "model": redact_uri(job.model),
        "content_hash": resolved.content_hash,
        "classes": classes,
        "failed_by_reason": images.failed,
        **job.config.to_json(),
        **result.to_json(),
    }
    metadata = dataclasses.replace(read_metadata(resolved.directory), scaling=scaling)
    _write_module(job.output, tuner, record, metadata)
    return result


def _check_writable(option: str, directory: str) -> None:
    """Makes sure that a training of hours will not end at a directory that cannot be written.

    Raises:
      UsageError: it cannot be made or written.
    """
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if not os.path.isdir(directory):
        raise UsageError(f"{option}: {directory} is not a directory.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{option}: {directory} is not writable.")


def _check(directory: str, name: str) -> None:
    """Makes sure that a training begins with features, and can be repeated.

    Raises:
      ModelError: the module gives other features each time, or probabilities.
    """
    if examine(FeatureModule.load(directory)):
        raise probabilities_error(name, may_be_allowed=False)


def _load_trainable(model: str, directory: str) -> Any:
    """Loads a module as a TF2 SavedModel, the only kind whose variables can learn."""
    loaded, format = load_saved_model(directory)
    if format != "tf2_saved_model":
        _log.info("Converting the TF1 Hub module %s to TF2.", redact_uri(model))
        with tempfile.TemporaryDirectory() as scratch:  # It is in $TMPDIR.
            converted = os.path.join(scratch, "tf2")
            convert(directory, converted, Conversion())
            loaded, _ = load_saved_model(converted)
    return loaded


def _number_classes(images: Images, train: str) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Numbers the labels from 0 in their order; returns them, and the number of each image.

    Raises:
      UsageError: all images have the same label.
    """
    classes, labels = np.unique(images.labels, return_inverse=True)
    if len(classes) < 2:
        raise UsageError(f"The labels of {train} are all {str(classes[0])!r}, and two are needed.")
    for reason, count in images.failed.items():
        _log.warning("%d rows of %s give no image: %s.", count, train, reason)
    return classes.tolist(), labels.astype(np.int32)


def _write_module(
    output: str, tuner: Finetuner, record: Mapping[str, Any], metadata: ModuleMetadata
) -> None:
    """Writes the module with its classifier and a record of the training, all or nothing."""
    with staged_directory(output) as staging:
        tuner.save(staging)
        write_metadata(staging, metadata)
        _check(staging, output)  # Nothing is handed out that `extract` would refuse.
        extra = os.path.join(staging, "assets.extra")
        with open(os.path.join(extra, "finetune.json"), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
        with open(os.path.join(extra, "classifier.npz"), "wb") as binary:
            np.savez(binary, **tuner.classifier())  # type: ignore[arg-type]
