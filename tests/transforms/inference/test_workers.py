"""Where the model is loaded: once for threads and processes, and on other machines."""

from __future__ import annotations

import pathlib
import pickle
import subprocess
import sys
import textwrap

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.testing.util import assert_that

from image_features.models.engines import prepare
from image_features.transforms.inference import model_handler
from image_features.transforms.inference.model_handler import FeatureVectorModelHandler
from tests.transforms.inference.inference import equals, keyed, pipeline_of


def test_threads_share_one_model(pixels, features, prepared, tmp_path):
    handler = _Counting(tmp_path)
    with pipeline_of(direct_num_workers=3, direct_running_mode="multi_threading") as pipeline:
        results = (
            pipeline | keyed(pixels) | beam.Reshuffle() | RunInference(KeyedModelHandler(handler))
        )
        assert_that(results, equals(features, prepared.content_hash))
    assert len(list(tmp_path.iterdir())) == 1


class _Counting(FeatureVectorModelHandler):
    """Leaves a file for each model that is loaded."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__("builtin")
        self.directory = directory

    def load_model(self):
        number = len(list(self.directory.iterdir()))
        (self.directory / str(number)).touch()
        return super().load_model()


def test_processes_share_one_model(pixels, features, prepared):
    handler = FeatureVectorModelHandler(large_model=True)
    assert handler.share_model_across_processes()
    with pipeline_of() as pipeline:
        results = pipeline | keyed(pixels) | RunInference(KeyedModelHandler(handler))
        assert_that(results, equals(features, prepared.content_hash))


@pytest.mark.slow
def test_worker_processes(pixels, features, prepared):
    with pipeline_of(direct_num_workers=2, direct_running_mode="multi_processing") as pipeline:
        results = (
            pipeline
            | keyed(pixels)
            | beam.Reshuffle()
            | RunInference(KeyedModelHandler(FeatureVectorModelHandler()))
        )
        assert_that(results, equals(features, prepared.content_hash))


def test_worker_needs_neither_tensorflow_nor_the_launchers_cache(
    pixels, features, prepared, tmp_path, monkeypatch
):
    handler = FeatureVectorModelHandler(staging_location=str(tmp_path / "staged"))
    (tmp_path / "handler").write_bytes(pickle.dumps(handler))
    np.save(tmp_path / "pixels.npy", pixels)
    worker = """
        import pickle, sys
        import numpy as np
        sys.modules["tensorflow"] = None  # Importing it raises.
        folder = sys.argv[1]
        handler = pickle.load(open(f"{folder}/handler", "rb"))
        batch = list(np.load(f"{folder}/pixels.npy"))
        results = handler.run_inference(batch, handler.load_model())
        np.save(f"{folder}/features.npy", [result.inference for result in results])
        print(handler.prepared.flatbuffer, results[0].model_id)
    """
    monkeypatch.setenv("IMAGE_FEATURES_CACHE", str(tmp_path / "empty"))
    printed = subprocess.check_output(
        [sys.executable, "-c", textwrap.dedent(worker), str(tmp_path)], text=True
    )
    staged = tmp_path / "staged" / prepared.flatbuffer_sha256 / "model.tflite"
    assert printed.split() == [str(staged), prepared.content_hash]
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), features)


def test_making_it_is_cheap():
    code = (
        "from image_features.transforms.inference.model_handler import FeatureVectorModelHandler\n"
        "FeatureVectorModelHandler('gs://no/such/model', batch_size=8)\n"
        "import sys; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _on_another_machine(
    handler: FeatureVectorModelHandler, monkeypatch
) -> FeatureVectorModelHandler:
    """What a worker unpickles where the launcher's cache is not."""
    travelled = pickle.loads(pickle.dumps(handler))
    lost = travelled.prepared.flatbuffer
    isfile = model_handler.os.path.isfile
    monkeypatch.setattr(model_handler.os.path, "isfile", lambda path: path != lost and isfile(path))
    return travelled


def test_worker_elsewhere_prepares_the_model_itself(pixels, features, monkeypatch, caplog):
    travelled = _on_another_machine(FeatureVectorModelHandler("builtin"), monkeypatch)
    made = []

    def prepare_again(handle, **options):
        made.append(handle)
        monkeypatch.undo()
        return prepare(handle, **options)

    monkeypatch.setattr(model_handler, "prepare", prepare_again)
    results = travelled.run_inference(list(pixels[:2]), travelled.load_model())
    assert made == ["builtin"] and "pass staging_location" in caplog.text
    np.testing.assert_array_equal([result.inference for result in results], features[:2])
