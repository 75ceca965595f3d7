"""`model convert` and `model verify`, as a user calls them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from image_features.models import mobilenet_v2
from image_features.models.weights import bundled_weights, read_weights
from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.samples import write_samples
from image_features.pipeline.dataset import reading as dataset
from tests.models.conversion import networks
from tests.models.keras_network import keras_network


@pytest.mark.long
def test_every_format_gives_the_same_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Keras file to TF1 Hub to Slim to TF2, and back to where the weights came from."""
    weights = bundled_weights()
    keras_file = tmp_path / "mobilenet_v2_0.5_96_no_top.weights.h5"
    keras_network(weights.arrays).save_weights(keras_file)
    chain = [str(keras_file), *(str(tmp_path / name) for name in ("tf1_hub", "slim", "tf2"))]
    for source, target in itertools.pairwise(chain):
        assert cli.main(["model", "convert", source, target, f"--format={Path(target).name}"]) == 0
    for name, array in read_weights(chain[-1]).arrays.items():
        np.testing.assert_array_equal(array, weights.arrays[name])

    photographs = str(tmp_path / "photographs")
    write_samples(photographs)
    capsys.readouterr()
    for images in ([], [f"--images={photographs}"]):
        assert cli.main(["model", "verify", "builtin", chain[-1], *images]) == 0
        difference = json.loads(capsys.readouterr().out)
        assert difference["max_abs"] <= 1e-4
        assert difference["max_cosine"] <= 1e-6
        assert difference["images"] >= 10
        assert difference["within_tolerance"]


def test_verify_tells_models_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["model", "verify", "builtin", "untrained"]) == 1
    difference = json.loads(capsys.readouterr().out)
    assert difference["max_abs"] > 0.1
    assert difference["max_cosine"] > 0.1
    other = str(tmp_path / "larger")
    convert = ["model", "convert", "builtin", other, "--format=tf2"]
    assert cli.main([*convert, "--image_size=128"]) == 0
    assert cli.main(["model", "verify", "builtin", other]) == 2
    assert "image size" in capsys.readouterr().err


def test_verify_passes_no_module_of_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras
    import tensorflow as tf

    from tests.models.tiny import means, save

    dropout = save(tmp_path / "dropout", lambda batch: 1e-5 * tf.nn.dropout(means(batch), 0.5))
    assert cli.main(["model", "verify", dropout, dropout]) == 1
    assert json.loads(capsys.readouterr().out)["max_by_dimension"] > 0.1
    # Two copies of it flip the same images.
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.RandomFlip("horizontal", seed=1),
            keras.layers.Flatten(),
        ]
    )
    flip = str(tmp_path / "flip")
    network.export(flip, verbose=False)
    assert cli.main(["model", "verify", flip, flip]) == 2
    assert "random numbers" in capsys.readouterr().err


def test_convert_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    unnamed = tmp_path / "model.weights.h5"
    keras_network(mobilenet_v2.seeded_weights()).save_weights(unnamed)
    for source, target, options, words in (
        ("builtin", "taken", (), "exists"),
        ("nowhere", "new", (), "nowhere"),
        (str(tmp_path / "absent.h5"), "new", (), "absent.h5"),
        (str(unnamed), "new", (), "--image_size"),
        ("builtin", "new", ("--image_size=-1",), "above 0"),
        ("builtin", "new", ("--depth_multiplier=1.4",), "depth multiplier 1.4"),
    ):
        command = ["model", "convert", source, str(tmp_path / target), "--format=tf2", *options]
        assert cli.main(command) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
    assert cli.main(["model", "convert", "builtin", "x", "--format=onnx"]) == 2


def test_a_keras_model_is_converted_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file that Keras saves to the features of pictures, which are Keras's own."""
    keras = networks.library(3)

    def before(library: Any, values: Any) -> Any:
        return library.layers.RandomFlip()(library.layers.Rescaling(1 / 255)(values))

    model = networks.network(keras, networks.classified, before=before)
    source, target = networks.save(keras, model, tmp_path, "keras"), str(tmp_path / "module")
    assert cli.main(["model", "describe", source]) == 2
    assert f"model convert {source} " in capsys.readouterr().err
    assert cli.main(["model", "convert", source, target, "--input_range=1,0"]) == 2
    assert "does not go from less to more" in capsys.readouterr().err
    assert cli.main(["model", "convert", source, target]) == 0
    told = capsys.readouterr()
    told_words = " ".join((told.out + told.err).split())
    for words in ("'pool'", "classifier 'classes'", "6 features", "16x16", "[0, 255]", "extract"):
        assert words in told_words
    pixels = networks.noise(count=4).astype(np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    output = str(tmp_path / "features")
    command = ["extract", f"--input={tmp_path}/*.png", f"--output={output}", f"--model={target}"]
    assert cli.main(command) == 0
    rows = dataset.load_numpy(output)
    order = [int(Path(uri).stem) for uri in rows.uris]
    expected = keras.Model(model.inputs, model.get_layer("pool").output)(pixels, training=False)
    np.testing.assert_allclose(rows.features, np.asarray(expected)[order], rtol=1e-4, atol=1e-5)
