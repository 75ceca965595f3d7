"""`model finetune`: from a manifest with labels to a module that `extract` takes."""

from __future__ import annotations

import json
import logging
import os
import tempfile

import numpy as np

from image_features.errors import UsageError
from image_features.models.convert import ModelFormat, convert
from image_features.models.entries import stated_image_size
from image_features.models.files import staged_directory
from image_features.models.finetune import FinetuneResult, Report, finetune
from image_features.models.handles import resolve
from image_features.models.module import DEFAULT_IMAGE_SIZE, FeatureModule, load_saved_model
from image_features.models.tuner import FinetuneConfig, Finetuner
from image_features.pipeline.finetune.labelled import examine_images, read_images
from image_features.transforms.images.pixels import DecodePolicy

_log = logging.getLogger(__name__)


def run_finetune(
    *,
    model: str,
    train: str,
    output: str,
    work: str,
    label_column: str,
    uri_column: str | None,
    config: FinetuneConfig,
    report: Report,
) -> FinetuneResult:
    """Fine-tunes a module and writes the result as a module.

    Args:
      model: Handle of the module; a TF1 Hub module is converted to TF2 first.
      train: The manifest with labels.
      output: Directory of the new module; must not exist. Besides the SavedModel it gets
        assets.extra/finetune.json and assets.extra/classifier.npz.
      work: Directory of checkpoints and logs; with what is there, training goes on.
      label_column: As `labelled.read_images` takes it.
      uri_column: As `labelled.read_images` takes it.
      config: How to train.
      report: Hears of every step.

    Raises:
      UsageError: an argument is of no use.
      ModelError: the module cannot be had or trained.
    """
    import tensorflow as tf

    if os.path.lexists(output):
        raise UsageError(f"--output={output} exists; name a directory that does not exist yet.")
    examine_images(train, label_column=label_column, uri_column=uri_column)
    tf.keras.utils.set_random_seed(config.seed)
    resolved = resolve(model)
    loaded, format = load_saved_model(resolved.directory)
    directory = resolved.directory
    if format == "tf1_hub":
        _log.info("Converting the TF1 Hub module %s to TF2.", model)
        with tempfile.TemporaryDirectory() as scratch:
            converted = os.path.join(scratch, "tf2")
            convert(directory, converted, format=ModelFormat.TF2)
            loaded, _ = load_saved_model(converted)
    size = stated_image_size(loaded, directory) or (DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE)
    images = read_images(
        train,
        label_column=label_column,
        uri_column=uri_column,
        policy=DecodePolicy(size),
    )
    classes, labels = np.unique(images.labels, return_inverse=True)
    if len(classes) < 2:
        raise UsageError(f"The labels of {train} are all {str(classes[0])!r}, and two are needed.")
    for reason, count in images.failed.items():
        _log.warning("%d rows of %s give no image: %s.", count, train, reason)
    tuner = Finetuner(loaded, directory, size, len(classes), config)
    result = finetune(tuner, images.pixels, labels.astype(np.int32), work, config, report)
    with staged_directory(output) as staging:
        tuner.save(staging)
        FeatureModule.load(staging)  # Nothing is handed out that `extract` would refuse.
        extra = os.path.join(staging, "assets.extra")
        os.makedirs(extra)
        record = {
            "model": model,
            "content_hash": resolved.content_hash,
            "classes": classes.tolist(),
            "failed_by_reason": images.failed,
            **config.to_json(),
            **result.to_json(),
        }
        with open(os.path.join(extra, "finetune.json"), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
        with open(os.path.join(extra, "classifier.npz"), "wb") as binary:
            np.savez(binary, **tuner.classifier())  # type: ignore[arg-type]
    return result
