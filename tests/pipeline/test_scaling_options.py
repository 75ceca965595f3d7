"""--input_range, --mean and --std, from a command line to the models of a run."""

from __future__ import annotations

import logging
import types

import numpy as np
import pytest
from PIL import Image

import image_features
from image_features.errors import UsageError
from image_features.models.scaling import Scaling
from image_features.pipeline.cli.parsing import parse, parse_extract
from image_features.pipeline.scaling_options import (
    add_scaling,
    stated_scaling,
    stated_scalings,
)
from tests.models.channel_means import save

COLOUR = (0, 128, 255)
SIGNED = Scaling.of_range(-1, 1)


def one(*argv: str) -> Scaling | None:
    given = parse("model convert", add_scaling, argv)
    return stated_scaling(given.input_range, given.mean, given.std)


def several(models, **given):
    empty = {"input_range": None, "mean": None, "std": None}
    return stated_scalings(types.SimpleNamespace(**{**empty, **given}), models)


@pytest.mark.parametrize(
    "argv",
    [
        ["--input_range=-1,1"],
        ["--input_range", "-1,1"],
        ["--input_range", "-1.0e0,+1"],
        ["--mean=.5,.5,.5", "--std", "0.5,0.5,0.5"],
    ],
)
def test_one_model(argv):
    assert one(*argv) == SIGNED


def test_what_is_not_given():
    assert one() is None
    assert one("--mean=0.1,0.2,0.3") == Scaling((0.1, 0.2, 0.3))
    assert one("--std=0.1,0.2,0.3") == Scaling(std=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--input_range=1,-1"], "1,-1 does not go from less to more"),
        (["--input_range=1,1"], "does not go from less to more"),
        (["--input_range=0"], "'0' is not 2 numbers, such as -1,1"),
        (["--input_range=0,1,2"], "is not 2 numbers"),
        (["--input_range=0;1"], "is not 2 numbers"),
        (["--input_range=nan,1"], "is not 2 numbers"),
        (["--input_range=0,inf"], "is not 2 numbers"),
        (["--input_range="], "is not 2 numbers"),
        (["--input_range=0,1e60"], "no numbers that float32 tells"),
        (["--mean=0.5,0.5"], "'0.5,0.5' is not 3 numbers, such as 0.485,0.456,0.406"),
        (["--mean=123.68,116.78,103.94"], "divide what is said of pixels from 0 to 255 by 255"),
        (["--mean", "-.5,.5,.5"], "is no mean of pixels in"),
        (["--std=0,1,1"], "is no deviation of pixels in"),
        (["--std=58.4,57.1,57.4"], "divide what is said of pixels from 0 to 255 by 255"),
        (["--std=a,b,c"], "is not 3 numbers"),
        (["--input_range=0,1", "--mean=0,0,0"], "--input_range and --mean exclude each other"),
        (["--input_range=0,1", "--std=1,1,1"], "--input_range and --std exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(argv, says):
    with pytest.raises(UsageError, match=says):
        one(*argv)


def test_extract_takes_a_negative_number_after_a_space():
    options, _ = parse_extract(["--input_range", "-1,1", "--output=o", "--mean", "b=0,0,0"])
    assert (options.input_range, options.mean, options.output) == (["-1,1"], ["b=0,0,0"], "o")


def test_ranges_of_models_by_their_names():
    assert several([""]) == {}
    assert several([""], input_range=["-1,1"]) == {"": SIGNED}
    assert several(["a"], input_range=["-1,1"]) == {"a": SIGNED}  # It can be for this one only.
    given = {"input_range": ["a=-1,1"], "mean": ["b=0,0,0"], "std": ["b=0.5,0.5,0.5"]}
    assert several(["a", "b", "c"], **given) == {"a": SIGNED, "b": Scaling.of_range(0, 2)}


@pytest.mark.parametrize(
    ("models", "given", "says"),
    [
        ("ab", {"input_range": ["-1,1"]}, r"models a, b: say for which, as --input_range=a=-1,1\."),
        ("ab", {"std": ["{},1,1"]}, r"as --std=a={},1,1\."),
        ("ab", {"mean": ["c=0,0,0"]}, "a model called 'c', and there is none: the models are a, b"),
        ([""], {"mean": ["c=0,0,0"]}, "called 'c', and there is none: the only model has no name"),
        ("a", {"input_range": ["a=0,1", "0,2"]}, "--input_range=0,2 is given to its model already"),
        ("ab", {"input_range": ["a=0,1"], "std": ["a=1,1,1"]}, "exclude each other"),
        ("a", {"input_range": ["a=1,0"]}, "--input_range=a=1,0 cannot be used: 1,0 does not go"),
    ],
)
def test_a_value_that_is_for_no_model_is_one_sentence(models, given, says):
    with pytest.raises(UsageError, match=says):
        several(list(models), **given)


def test_a_run_records_the_ranges_and_holds_to_them(tmp_path, caplog):
    """Several models, exact values, an attempt with another range, and a search."""
    caplog.set_level(logging.WARNING)
    module, photos = save(str(tmp_path / "module")), tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (8, 8), COLOUR).save(photos / "flat.png")
    Image.new("RGB", (8, 8), COLOUR[::-1]).save(photos / "other.png")
    asked = {
        "input": str(photos),
        "output": str(tmp_path / "out"),
        "model": {"bytes": module, "signed": module, "plain": module},
        "run_id": "run",
    }
    ranges = {"bytes": (0, 255), "signed": "-1,1"}
    run = image_features.extract(**asked, input_range=ranges)
    assert sum("--input_range" in r.getMessage() for r in caplog.records) == 1  # Of "plain" alone.
    assert [entry.get("scaling") for entry in run.record["models"]] == [
        {"input_range": [0, 255]},
        {"input_range": [-1, 1]},
        None,
    ]
    assert run.provenance.models["signed"].scaling == SIGNED
    (row,) = [
        row
        for row in image_features.load(run.directory)
        if row["image/uri"].numpy().endswith(b"flat.png")
    ]
    np.testing.assert_array_equal(row["image/features/bytes"].numpy(), COLOUR)
    for name, scaling in (("signed", SIGNED), ("plain", Scaling())):
        np.testing.assert_allclose(
            row[f"image/features/{name}"].numpy(), scaling.to_numbers(np.uint8(COLOUR)), atol=1e-6
        )

    with pytest.raises(UsageError, match="another input, model, input range or preprocessing"):
        image_features.extract(**asked, input_range={**ranges, "signed": "-2,2"})
    with pytest.raises(UsageError) as refused:
        image_features.extract(
            **{**asked, "run_id": "next"},
            incremental=True,
            input_range=ranges,
            mean={"plain": (0.5, 0.5, 0.5)},
        )
    said = "(plain: scaling input range [0, 1] -> input range [-0.5, 0.5])"
    assert said in str(refused.value)
    for model in (None, str(module)):
        nearest, *_ = image_features.search(
            run.directory, str(photos / "flat.png"), features="signed", model=model
        )
        assert nearest.uri.endswith("flat.png") and nearest.distance < 1e-6
