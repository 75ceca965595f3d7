"""Puts a run's model where workers on other machines can read it: into the staging directory."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile

from apache_beam.io.filesystems import FileSystems

from image_features.models.engines import PreparedModel
from image_features.transforms.stores.files import create


def stage_model(model: PreparedModel, staging: str) -> PreparedModel:
    """Copies a compiled model, or a module that only this machine has.

    Returns:
      The model with the paths of the copies.
    """
    if model.flatbuffer:
        target = FileSystems.join(staging, "model.tflite")
        with open(model.flatbuffer, "rb") as source, create(target) as copy:
            shutil.copyfileobj(source, copy)
        return dataclasses.replace(model, flatbuffer=target)
    if "://" not in model.handle:
        target = FileSystems.join(staging, "module.tar.gz")
        with create(target) as copy, tarfile.open(fileobj=copy, mode="w:gz") as archive:
            archive.add(model.directory, ".")
        return dataclasses.replace(model, directory=target)
    return model
