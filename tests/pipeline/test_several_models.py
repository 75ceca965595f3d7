"""Several models in one pass: each row has the vectors that a run of each model would have given.

The pictures, two nights over them with two models, and a run of each model alone are made once.
"""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import image_features
from image_features.errors import UsageError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.dataset.run import committed_runs, read_record
from image_features.pipeline.report.gather import gather
from tests import images
from tests.datasets import counts, lines

WIDTH = 5


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A module of another size than the built-in one, which fails on black pictures."""
    import tensorflow as tf

    path = str(tmp_path_factory.mktemp("module"))
    kernel = np.random.default_rng(5).normal(size=(3, 3, 3, WIDTH)).astype(np.float32)

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 120, 160, 3], tf.float32)])
        def __call__(self, images):
            light = tf.reduce_max(images, [1, 2, 3])[:, tf.newaxis]
            vectors = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME")), [1, 2])
            return vectors / light

    tf.saved_model.save(Module(), path)
    return path


def run(place, name, *options, code=0, output="both", input="photos"):
    arguments = [f"--input={place / input}", f"--output={place / output}", f"--run_id={name}"]
    assert cli.main(["extract", "--decode=exact", *arguments, *options]) == code
    return place / output / name


@pytest.fixture(scope="module")
def place(tmp_path_factory, other):
    place = tmp_path_factory.mktemp("several")
    photos = images.write_noise(place / "photos", 6)
    for i in range(6):
        images.noise(i, 700, 500).save(photos / f"{i}.jpg")
    Image.new("RGB", (50, 40)).save(photos / "black.png")
    images.noise(7).save(photos / "child.tiff")
    first = sorted(map(str, photos.iterdir()))[2:7]
    (place / "first.txt").write_text("\n".join(first))
    run(place, "1", "--model=a=untrained", f"--model=b={other}", input="first.txt")
    # The order of models is no difference, and what is known has vectors of both.
    again = [f"--model=b={other}", "--model=a=untrained", "--incremental", "--num_shards=2"]
    run(place, "2", *again)
    run(place, "1", "--model=untrained", output="a")
    run(place, "1", f"--model=only={other}", output="b")
    return place


def vectors(path, features=None):
    arrays = reading.load_numpy(str(path), features=features)
    return dict(zip(arrays.uris, map(bytes, arrays.features), strict=True))


def test_each_vector_is_what_the_model_gives_alone(place):
    both = {name: vectors(place / "both", name) for name in "ab"}
    alone = {"a": vectors(place / "a"), "b": vectors(place / "b", "only")}
    assert len(both["a"]) == len(both["b"]) == 7
    for name in "ab":
        assert both[name].items() <= alone[name].items()
    black = str(place / "photos" / "black.png")
    assert set(alone["a"]) - set(both["a"]) == {black} and black not in alone["b"]


def test_a_row_fails_as_a_whole_and_its_model_is_named(place):
    assert counts(place / "both" / "1") == (5, 4, 1, 0, 0)
    assert counts(place / "both" / "2") == (9, 3, 2, 4, 0)
    errors = {pathlib.Path(row["uri"]).name: row for row in lines(place / "both" / "2", "errors")}
    assert set(errors) == {"black.png", "broken.jpg"}
    assert errors["black.png"]["reason"] == "not_finite"
    assert errors["black.png"]["message"].startswith("The module b's features")


def test_a_run_that_goes_on_measures_what_was_there(place, other):
    """The first attempt ends at the commit; the second one begins with its pieces."""
    models = ["--model=a=untrained", f"--model=b={other}"]
    run(place, "1", *models, "--min_rows=99", output="again", code=5)
    resumed = run(place, "1", *models, output="again")
    assert counts(resumed) == (9, 7, 2, 0, 0)
    assert all(vectors(place / "again", name) == vectors(place / "both", name) for name in "ab")
    whole = json.loads((resumed / "health.json").read_text())["models"]
    single = json.loads((place / "b" / "1" / "health.json").read_text())["models"]["only"]
    assert list(whole) == ["a", "b"] and whole["b"]["norm_histogram"] == single["norm_histogram"]
    np.testing.assert_allclose(whole["b"]["dimensions"]["mean"], single["dimensions"]["mean"])


def test_runs_are_merged_with_all_vectors(place):
    shutil.copytree(place / "both", place / "merged")
    before = {name: vectors(place / "both", name) for name in "ab"}
    assert cli.main(["compact", str(place / "merged"), "--run_id=all", "--compression=gzip"]) == 0
    assert counts(place / "merged" / "all")[:2] == (9, 7)
    assert {name: vectors(place / "merged", name) for name in "ab"} == before
    health = read_record(str(place / "merged" / "all"))["health"]["models"]
    assert {name: section["rows"] for name, section in health.items()} == {"a": 7, "b": 7}
    single = read_record(str(place / "b" / "1"))["health"]["models"]["only"]
    assert health["b"] == single


def test_readers_see_every_model(place):
    rows = {row["image/uri"].numpy(): row for row in reading.load(str(place / "both"))}
    for name, width in (("a", 1280), ("b", WIDTH)):
        arrays = reading.load_numpy(str(place / "both"), features=name)
        assert arrays.features.shape == (7, width)
        for uri, vector in zip(arrays.uris, arrays.features, strict=True):
            np.testing.assert_array_equal(rows[uri.encode()][f"image/features/{name}"], vector)
    import tensorflow_datasets as tfds

    night = place / "both" / "2"
    table = tfds.builder_from_directory(str(night)).as_dataset("features")
    found = {row["image"]["uri"].numpy(): row["image"]["features"] for row in table}
    assert len(found) == 3
    for uri, of in found.items():
        for name in "ab":
            np.testing.assert_array_equal(of[name], rows[uri][f"image/features/{name}"])


def test_the_files_beside_describe_every_model(place):
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    night = place / "both" / "1"
    schema = text_format.Parse((night / "schema.pbtxt").read_text(), schema_pb2.Schema())
    shapes = {f.name: [dim.size for dim in f.shape.dim] for f in schema.feature}
    assert (shapes["image/features/a"], shapes["image/features/b"]) == ([1280], [WIDTH])
    assert "image/features" not in shapes
    record = read_record(str(night))
    assert [model["name"] for model in record["models"]] == ["a", "b"] and "model" not in record
    hashes = {model["name"]: model["content_hash"] for model in record["models"]}
    text = (night / "metrics.prom").read_text()
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    (rows,) = families["image_features_rows_out"]
    assert rows.labels == {"run_id": "1"} and rows.value == 4
    of = {s.labels["features"]: s.labels["model"] for s in families["image_features_health_rows"]}
    assert of == hashes


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (["untrained"], "models a, b -> untrained (hash "),
        (["a=untrained"], "models a, b -> a"),
        (["a=untrained", "b=untrained", "c=untrained"], "models a, b -> a, b, c"),
        (["a=untrained", "b=untrained"], "b: model OTHER (hash "),
    ],
)
def test_other_models_would_hide_what_is_there(place, other, caplog, capsys, models, says):
    run(place, "3", *(f"--model={model}" for model in models), code=2)
    told = capsys.readouterr().err
    assert says.replace("OTHER", other) in told and "--new_series" in told
    assert not (place / "both" / "3").exists()


def test_search_is_by_one_of_them(place, capsys):
    query = str(place / "photos" / "3.jpg")

    def ask(*options, code=0):
        capsys.readouterr()
        assert cli.main(["search", str(place / "both"), query, "--json", *options]) == code
        told = capsys.readouterr()
        return told.err if code else [json.loads(line) for line in told.out.splitlines()]

    for name in "ab":
        exact = ask(f"--features={name}", "--index=never")
        assert exact[0]["uri"] == query
        assert exact[0]["similarity"] == pytest.approx(1, abs=1e-6)  # Its vector is the row's.
        near = ask(f"--features={name}", "--index=always")
        assert [row["uri"] for row in near] == [row["uri"] for row in exact]
    # That of the one is not the other's, and neither removes the other's.
    names = sorted(path.name.split("-")[1] for path in (place / "both").glob(".search-*"))
    assert names == ["a", "b"]
    assert "has features of b, a, and one of them must be named" in ask(code=2)
    assert "has features of b, a, and not of 'c'" in ask("--features=c", code=2)


def test_a_report_has_sections_of_every_model(place, tmp_path):
    runs = committed_runs(str(place / "both"))
    report = gather(str(place / "both"), runs, 100)
    assert [model.name for model in report.models] == ["b", "a"]  # As in the latest run.
    widths = [model.health[0].vectors.num_features for model in report.models]
    assert widths == [WIDTH, 1280]
    assert report.models[0].sample.rows == report.models[1].sample.rows
    assert report.models[0].sample.strips != report.models[1].sample.strips
    page = tmp_path / "page.html"
    arguments = ["report", str(place / "both"), f"--output={page}"]
    assert cli.main(arguments) == 0
    text = page.read_text()
    for title in ("Map", "Nearest neighbours", "Near duplicates", "Features"):
        assert f"<h2>{title} by a</h2>" in text and f"<h2>{title} by b</h2>" in text
    assert text.count('id="chart-map-') == text.count('id="chart-norms-') == 2
    assert re.search(r"resized to 96.96 and to 160.120\.</p>", text)
    assert cli.main([*arguments, "--features=b"]) == 0
    assert "Map by a" not in page.read_text() and "Map by b" in page.read_text()
    assert cli.main([*arguments, "--features=c"]) == 2


def test_inspect_tells_of_every_model(place, other, capsys):
    assert cli.main(["inspect", str(place / "both" / "1"), "--samples=1"]) == 0
    told = capsys.readouterr().out
    for text in ("a = untrained", f"b = {other}", "health    a: norm", "health    b: norm"):
        assert text in told
    assert told.count("sample ") == 2 and "b: [" in told and f"({WIDTH})" in told


def test_the_library_takes_models_by_their_names(place, other, tmp_path):
    made = image_features.extract(
        input=str(place / "first.txt"),
        output=str(tmp_path / "out"),
        model={"b": other, "c": other},
        decode="exact",
    )
    one, two = (image_features.load_numpy(made.directory, features=name) for name in "bc")
    np.testing.assert_array_equal(one.features, two.features)
    assert made.rows == len(one.keys) == 4
    with pytest.raises(UsageError, match="features of b, c, and one of them must be named"):
        image_features.load_numpy(made.directory)
    with pytest.raises(UsageError, match="one model, which has no name, and not of 'b'"):
        image_features.load_numpy(str(place / "a"), features="b")
