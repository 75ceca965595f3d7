"""Fine-tuning on real labelled images: the handwritten digits that scikit-learn ships."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from image_features.models import mobilenet_v2
from image_features.models.export import export_tf2
from image_features.models.handles import resolve
from image_features.models.metadata import read_metadata
from image_features.models.module import FeatureModule
from image_features.models.scaling import Scaling
from image_features.pipeline.cli import main as cli
from tests.models.tiny import means, save

_PER_CLASS = 60


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 digits as PNG files with a CSV of labels, and one row that is no image."""
    directory = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    lines = ["uri,label"]
    for label in range(10):
        for number, row in enumerate(np.flatnonzero(digits.target == label)[:_PER_CLASS]):
            name = f"{label}-{number}.png"
            pixels = np.uint8(digits.images[row] * (255 / 16))
            Image.fromarray(pixels).resize((32, 32)).save(directory / name)
            lines.append(f"{name},{label}")
    lines.append("absent.png,3")
    (directory / "train.csv").write_text("\n".join(lines) + "\n")
    return directory / "train.csv"


def _finetune(manifest: Path, output: Path, *options: str) -> int:
    return cli.main(["model", "finetune", f"--train={manifest}", f"--output={output}", *options])


@pytest.mark.long
def test_finetuned_module_beats_the_linear_probe_and_extracts(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the TF1 Hub module in the box, through conversion, to a module that extract takes."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "digits"
    options = ("--epochs=8", "--batch_size=16", "--batch_norm_momentum=0.8", "--augment=none")
    assert _finetune(manifest, output, *options) == 0
    record = json.loads((output / "assets.extra" / "finetune.json").read_text())
    assert record["failed_by_reason"] == {"not_found": 1}
    assert record["classes"] == list(range(10)) or record["classes"] == [str(n) for n in range(10)]
    assert (record["train_images"], record["held_out_images"]) == (480, 120)
    assert record["best_epoch"] > 0
    # At least half of what the frozen features' probe got wrong is right now.
    assert 1 - record["accuracy"] <= 0.5 * (1 - record["probe_accuracy"])
    events = EventAccumulator(str(tmp_path / "digits.training" / "logs"))
    events.Reload()
    tensors = events.Tensors("all/held_out_accuracy")
    accuracies = [float(tf.make_ndarray(event.tensor_proto)) for event in tensors]
    assert len(accuracies) == record["epochs"]
    assert max(accuracies) == pytest.approx(record["accuracy"])

    assert read_metadata(str(output)).scaling == Scaling()
    run = ["extract", f"--model={output}", f"--input={manifest.parent}"]
    assert cli.main([*run, f"--output={tmp_path / 'features'}"]) == 0
    assert "600 of 600 images" in capsys.readouterr().out

    classifier = np.load(output / "assets.extra" / "classifier.npz")
    names = sorted(path for path in os.listdir(manifest.parent) if path.endswith(".png"))
    pixels = np.stack(
        [
            np.asarray(Image.open(manifest.parent / n).convert("RGB").resize((96, 96), 2))
            for n in names
        ]
    )
    logits = FeatureModule.load(str(output))(pixels) @ classifier["kernel"] + classifier["bias"]
    labels = np.array([int(name[0]) for name in names])
    assert (logits.argmax(axis=1) == labels).mean() >= record["accuracy"] - 0.05


@pytest.mark.long
def test_killed_run_goes_on_to_the_same_result(manifest: Path, tmp_path: Path) -> None:
    module = tmp_path / "module"
    export_tf2(
        mobilenet_v2.seeded_weights(1, 0.35), str(module), image_size=32, depth_multiplier=0.35
    )
    common = (f"--model={module}", "--epochs=3", "--patience=3", "--batch_size=64")
    assert _finetune(manifest, tmp_path / "whole", *common) == 0

    from image_features.models import tuner

    class Killed(BaseException):
        pass

    train_all = tuner.Finetuner.train_all
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):

        def killed(self, pixels, labels, epoch, on_step):  # type: ignore[no-untyped-def]
            if epoch == 1:
                raise Killed
            return train_all(self, pixels, labels, epoch, on_step)

        patch.setattr(tuner.Finetuner, "train_all", killed)
        _finetune(manifest, tmp_path / "halved", *common)
    assert not (tmp_path / "halved").exists()
    assert _finetune(manifest, tmp_path / "halved", *common, "--seed=1") == 2
    assert _finetune(manifest, tmp_path / "halved", *common) == 0
    records = [
        json.loads((tmp_path / name / "assets.extra" / "finetune.json").read_text())
        for name in ("whole", "halved")
    ]
    assert records[0] == records[1]
    pixels = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    whole, halved = (
        FeatureModule.load(str(tmp_path / name))(pixels) for name in ("whole", "halved")
    )
    np.testing.assert_allclose(whole, halved, rtol=1e-3, atol=1e-3)


def test_bad_arguments_cost_nothing(
    manifest: Path, tmp_path: Path, tf2_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "one.csv").write_text(
        "uri,label\n" + "".join(f"{manifest.parent}/1-{n}.png,one\n" for n in range(3))
    )
    for arguments, words in (
        ((manifest, tmp_path / "taken"), "exists"),
        # Before the model is looked at, which takes longest.
        ((tmp_path / "absent.csv", tmp_path / "new", "--model=nowhere"), "absent.csv"),
        ((tmp_path / "one.csv", tmp_path / "new", f"--model={tf2_dir}"), "all 'one'"),
        (
            (manifest, tmp_path / "new", "--label_column=kind", "--model=nowhere"),
            "no column 'kind'",
        ),
        ((manifest, tmp_path / "new", "--epochs=0"), "must be above 0"),
        ((manifest, tmp_path / "new", "--augment=all"), "none of crop_flip"),
        ((manifest, tmp_path / "new", "--held_out=1"), "between 0 and 1"),
        ((manifest, tmp_path / "new", "--model=nowhere"), "nowhere"),
    ):
        assert _finetune(*arguments) == 2
        assert words in capsys.readouterr().err
        assert sorted(os.listdir(tmp_path)) == ["one.csv", "taken"]


def test_other_tf1_modules_are_refused(manifest: Path, tmp_path: Path) -> None:
    """A TF1 module is converted by its variables' names, so it must be of the family."""
    import tensorflow as tf

    module = str(tmp_path / "other")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 3])
        weights = tf.compat.v1.get_variable("other/weights", [3, 4])
        features = tf.reduce_mean(images, [1, 2]) @ weights
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(module)
        signature = tf.compat.v1.saved_model.predict_signature_def(
            {"images": images}, {"default": features}
        )
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    Path(module, "tfhub_module.pb").write_bytes(b"\x08\x03")
    assert resolve(module).directory == module
    assert _finetune(manifest, tmp_path / "new", f"--model={module}") == 2


def test_only_features_are_learnt_from(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    softmax = save(tmp_path / "softmax", lambda batch: tf.nn.softmax(means(batch)))
    dropout = save(tmp_path / "dropout", lambda batch: tf.nn.dropout(means(batch), 0.5))
    for model, words in (
        (softmax, "convert --layer=NAME`."),
        (dropout, "random numbers (RandomUniform)"),
    ):
        assert _finetune(manifest, tmp_path / "new", f"--model={model}") == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
