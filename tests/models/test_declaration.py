"""What numbers a model is fed: by the user's word, the module's, or TensorFlow Hub's."""

from __future__ import annotations

import json
import logging
import pathlib

import numpy as np
import pytest

from image_features.models.declaration import DeclaredBy, choose_scaling, declared_scaling
from image_features.models.describe import describe
from image_features.models.engines import load, prepare
from image_features.models.handles import ResolvedModule
from image_features.models.identity import Engine, Precision
from image_features.models.metadata import ModuleMetadata, read_metadata, write_metadata
from image_features.models.scaling import Scaling
from image_features.models.tuner import FinetuneConfig, Finetuner
from image_features.models.verify import compare, load_pair, synthetic_images
from tests.models.channel_means import SIZE, save

SIGNED = Scaling.of_range(-1, 1)
IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
COLOURS = np.uint8([[0, 128, 255], [255, 255, 255], [1, 2, 3], [0, 0, 0]])
FLAT = np.broadcast_to(COLOURS[:, np.newaxis, np.newaxis], (len(COLOURS), SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(str(tmp_path_factory.mktemp("means") / "module"))


def resolved(directory: object, handle: str = "module") -> ResolvedModule:
    return ResolvedModule(handle, str(directory), "0" * 64)


def tagged(directory: pathlib.Path, *tags: str) -> None:
    """Writes a graph that has these tags, and nothing else."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.meta_graphs.add().meta_info_def.tags.extend(tags)
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "handle",
    [
        "https://tfhub.dev/google/imagenet/mobilenet_v2_050_96/feature_vector/1",
        "https://tfhub.dev/google/m/1.tar.gz",
        "https://storage.googleapis.com/tfhub-modules/google/m/1.tar.gz",
        "https://www.kaggle.com/models/google/mobilenet-v2/tensorFlow2/050-96/1?tf-hub-format=x",
        "gs://tfhub-modules/google/m/1",
    ],
)
def test_hub_takes_zero_to_one(tmp_path, caplog, handle):
    assert declared_scaling(resolved(tmp_path, handle)) == (Scaling(), DeclaredBy.HUB)
    assert choose_scaling(resolved(tmp_path, handle), None) == Scaling()
    assert not caplog.records


@pytest.mark.parametrize(
    "handle",
    ["/models/m", "m.tar.gz", "gs://b/tfhub.dev/m", "https://h/m.tar.gz", "http://h/m.tgz"],
)
def test_others_say_nothing_and_are_warned_of_once(tmp_path, caplog, handle):
    tagged(tmp_path, "serve")
    assert declared_scaling(resolved(tmp_path, handle)) == (Scaling(), None)
    assert choose_scaling(resolved(tmp_path, handle), None) == Scaling()
    (told,) = warnings(caplog)
    assert "--input_range" in told and "`image-features model convert`" in told
    assert "input range [0, 1]" in told and repr(handle) in told


def test_a_hub_module_is_known_without_its_marker(tmp_path):
    tagged(tmp_path)
    assert declared_scaling(resolved(tmp_path)) == (Scaling(), DeclaredBy.HUB)


def test_the_users_word_goes_before_the_modules_and_that_before_hubs(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "tfhub_module.pb").touch()
    module = resolved(tmp_path)
    assert declared_scaling(module) == (Scaling(), DeclaredBy.HUB)
    assert choose_scaling(module, Scaling()) == Scaling()
    assert not caplog.records
    assert choose_scaling(module, SIGNED) == SIGNED
    assert "by TensorFlow Hub's convention, and gets input range [-1, 1]" in caplog.text
    caplog.clear()
    write_metadata(str(tmp_path), ModuleMetadata(SIGNED))
    assert declared_scaling(module) == (SIGNED, DeclaredBy.MODULE)
    assert choose_scaling(module, None) == choose_scaling(module, SIGNED) == SIGNED
    assert not caplog.records
    assert choose_scaling(module, IMAGENET) == IMAGENET
    assert "with input range [-1, 1] by its own word, and gets mean 0.485" in caplog.text
    assert not warnings(caplog)


def test_what_version_0_2_has_finetuned_is_known(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "finetune.json").write_text(json.dumps({"classes": []}))
    assert declared_scaling(resolved(tmp_path)) == (Scaling(), DeclaredBy.MODULE)


def test_an_export_says_what_it_takes(tf2_dir: str):
    assert read_metadata(tf2_dir).scaling == Scaling()


@pytest.mark.parametrize("scaling", [Scaling(), Scaling.of_range(0, 255), SIGNED, IMAGENET])
@pytest.mark.parametrize(
    ("engine", "precision", "tolerance"),
    [("litert", "float32", 1e-6), ("tensorflow", "float32", 1e-6), ("litert", "float16", 2e-3)],
)
def test_the_network_sees_these_numbers(means, scaling, engine, precision, tolerance):
    model = prepare(means, engine=Engine(engine), precision=Precision(precision), scaling=scaling)
    features = load(model)(FLAT)
    expected = (COLOURS / 255 - scaling.mean) / scaling.std
    np.testing.assert_allclose(features, expected, atol=tolerance)
    if scaling == Scaling.of_range(0, 255):
        np.testing.assert_array_equal(features, COLOURS)


def test_models_are_compared_at_their_own_ranges(means, tmp_path):
    signed = save(str(tmp_path / "signed"), lambda images: images / 2 + 0.5)
    write_metadata(signed, ModuleMetadata(SIGNED))
    pixels = synthetic_images(SIZE, SIZE)
    assert compare(*load_pair(signed, means), pixels).max_abs < 1e-6
    write_metadata(signed, ModuleMetadata(Scaling()))
    assert compare(*load_pair(signed, means), pixels).max_abs > 0.1


def test_describe_tells_the_range_and_who_declares_it(means, tmp_path):
    told = describe(means)
    assert (told["input_range"], told["input_range_declared_by"]) == ([0, 1], None)
    own = save(str(tmp_path / "own"))
    write_metadata(own, ModuleMetadata(IMAGENET))
    told = json.loads(json.dumps(describe(own)))
    assert (told["mean"], told["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert told["input_range_declared_by"] == "module"


def test_finetuning_feeds_the_same_numbers(means):
    import tensorflow as tf

    tuner = Finetuner(
        tf.saved_model.load(means), means, (SIZE, SIZE), 2, FinetuneConfig(), IMAGENET
    )
    np.testing.assert_allclose(tuner.features(FLAT), IMAGENET.to_numbers(COLOURS), atol=1e-6)
