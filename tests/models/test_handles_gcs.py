"""gs:// handles, against an emulator of Google Cloud Storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_features.errors import ModelError
from image_features.models.files import content_hash
from image_features.models.handles import resolve
from tests.gcs import emulator

pytest.importorskip("gcp_storage_emulator")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket(tf1_dir: str, archive: str) -> Iterator[str]:
    """A bucket with the module as a directory and as an archive."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    with pytest.MonkeyPatch.context() as patch, emulator(patch, "models") as target:
        FileSystems.set_options(PipelineOptions())
        for root, _, names in os.walk(tf1_dir):
            for name in names:
                path = Path(root) / name
                blob = target.blob(f"dir/m/{path.relative_to(tf1_dir).as_posix()}")
                blob.upload_from_filename(str(path))
        target.blob("m.h5").upload_from_string("x")
        target.blob("pointer.tar.gz").upload_from_string("version https://git-lfs.github.com/spec")
        target.blob("m.tar.gz").upload_from_filename(archive)
        yield "gs://models"


@pytest.mark.parametrize("name", ["dir/m", "dir/m/", "m.tar.gz"])
def test_gcs_is_copied(name: str, bucket: str, tf1_dir: str, own_cache: Path) -> None:
    resolved = resolve(f"{bucket}/{name}")
    assert resolved.content_hash == content_hash(tf1_dir)
    assert os.listdir(own_cache) == [os.path.basename(resolved.directory)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no files in the model directory"),
        ("dir", r"no saved_model\.pb.*but 'gs://models/dir/m' is one: name that"),
        ("m.h5", "is a file, and no archive by its name.*model convert"),
        ("pointer.tar.gz", "'gs://models/pointer.tar.gz' is a Git LFS pointer"),
        ("absent.tar.gz", "cannot be read"),
    ],
)
def test_gcs_without_a_model(name: str, message: str, bucket: str, own_cache: Path) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(f"{bucket}/{name}")
    assert os.listdir(own_cache) == []
