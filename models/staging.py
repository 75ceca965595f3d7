"""The copy of a prepared model that workers on other machines read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from typing import IO

from image_features.models.engines import PreparedModel


def stage(model: PreparedModel, directory: str) -> PreparedModel:
    """Copies what workers cannot make or fetch themselves to a directory that they read.

    This is the compiled model; on TensorFlow it is the module, as a .tar.gz, if only this machine
    has it. A model that was staged before stays where it is.

    Args:
      model: The model as `engines.prepare` gives it.
      directory: A local path or any location that Beam can write, such as gs://bucket/staging.
        It is made if it is missing.

    Returns:
      The same model, which names the copy.

    Raises:
      OSError: The directory cannot be written.
    """
    from apache_beam.io.filesystems import FileSystems

    if "://" in (model.flatbuffer or model.handle) or model.directory.endswith(".tar.gz"):
        return model  # Workers fetch it as the launcher did.
    if model.flatbuffer:
        target = FileSystems.join(directory, "model.tflite")
        with open(model.flatbuffer, "rb") as source, _create_whole(target) as copy:
            shutil.copyfileobj(source, copy)
        return dataclasses.replace(model, flatbuffer=target)
    target = FileSystems.join(directory, "module.tar.gz")
    with _create_whole(target) as copy, tarfile.open(fileobj=copy, mode="w:gz") as archive:
        archive.add(model.directory, ".")
    return dataclasses.replace(model, directory=target)


@contextlib.contextmanager
def _create_whole(path: str) -> Iterator[IO[bytes]]:
    """Opens a file that appears when its last byte is written, as objects in a store do."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    part = path if "://" in path else f"{path}.{uuid.uuid4().hex}"
    with FileSystems.create(part, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        yield file
    if part != path:
        os.replace(part, path)
