"""The models that `--model` names: their names, what is refused, and what workers elsewhere get."""

import dataclasses

import pytest

from image_features.errors import UsageError
from image_features.models.engines import PreparedModel, image_sizes
from image_features.models.identity import Engine, ModelIdentity
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import parse_extract
from image_features.pipeline.launch.fingerprint import fingerprint
from image_features.pipeline.launch.models import handles, needed_engine, stage_models
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.spec import ManifestSpec

SECRET = "hush"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {"": "builtin"}),
        ([], {"": "builtin"}),
        ("builtin", {"": "builtin"}),
        ("a=builtin", {"a": "builtin"}),
        (["b=builtin", "a=builtin"], {"b": "builtin", "a": "builtin"}),
        (["A-1_=gs://b/x=y?z=1"], {"A-1_": "gs://b/x=y?z=1"}),
        (["2024=https://h/m?a=b"], {"2024": "https://h/m?a=b"}),
        (["https://h/m?a=b"], {"": "https://h/m?a=b"}),
        (["gs://b/x=y"], {"": "gs://b/x=y"}),
        (["/m/x=y"], {"": "/m/x=y"}),
        (["./x=y"], {"": "./x=y"}),
        (["there=y"], {"": "there=y"}),
        (["n=there=y"], {"n": "there=y"}),
    ],
)
def test_names(given, found, tmp_path, monkeypatch):
    (tmp_path / "there=y").mkdir()
    monkeypatch.chdir(tmp_path)
    assert list(handles(given).items()) == list(found.items())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a=x", "a=y"], "Two models are called 'a'"),
        (["x", "b=y"], "--model=x needs a name beside others"),
        (["a=x", "y"], "--model=y needs a name beside others"),
        (
            ["my model=x"],
            "--model=my model=x begins with no name: 'my model' must be up to 64 letters",
        ),
        (["=x"], "'' must be"),
        (["é=x"], "'é' must be"),
        ([f"{'n' * 65}=x"], "nnn' must be"),
        ([f"a b=https://u:{SECRET}@h/x", "b=y"], "REDACTED@h/x begins with no name"),
        ([f"https://u:{SECRET}@h/x", "b=y"], "--model=https://REDACTED@h/x needs a name"),
    ],
)
def test_what_has_no_name_of_its_own_is_refused(given, says):
    with pytest.raises(UsageError) as error:
        handles(given)
    assert says in str(error.value) and SECRET not in str(error.value)


def test_options_of_a_pipeline_name_one_or_several():
    from apache_beam.options.pipeline_options import PipelineOptions

    one = PipelineOptions.from_dictionary({"model": "a=builtin"})
    several = PipelineOptions.from_dictionary({"model": ["a=builtin", "b=x"]})
    for options, found in ((one, {"a": "builtin"}), (several, {"a": "builtin", "b": "x"})):
        assert handles(options.view_as(FeatureExtractorOptions).model) == found
    assert handles(FeatureExtractorOptions(model="a=builtin").model) == {"a": "builtin"}


@pytest.mark.parametrize("apart", [True, False])
def test_no_secret_of_an_address_is_shown(apart):
    addresses = [f"a=https://me:{SECRET}@h/x?token={SECRET}", f"b=http://me:{SECRET}@h/y"]
    flags = [
        part for at in addresses for part in (("--model", at) if apart else (f"--model={at}",))
    ]
    argv = ["--input=i", "--output=o", *flags]
    options, beam_options = parse_extract(argv)
    assert options.model == addresses
    assert SECRET not in str(beam_options.get_all_options())
    assert [value.partition("=")[0] for value in beam_options.get_all_options()["model"]] == [
        "a",
        "b",
    ]
    again = command_again("extract", argv, "run")
    assert SECRET not in again and "a=https://" in again and "b=http://" in again


def prepared(name, size=(8, 8), flatbuffer="", engine=Engine.LITERT):
    identity = ModelIdentity(name, name, size, 3, engine=engine)
    return PreparedModel(identity, directory="/nowhere", flatbuffer=flatbuffer)


def test_workers_elsewhere_get_a_file_for_each_model(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
    models = {name: prepared(name, flatbuffer=str(tmp_path / name)) for name in ("x", "y")}
    staged = stage_models(models, str(tmp_path / "staging"))
    assert list(staged) == ["x", "y"]
    for name, model in staged.items():
        assert model.flatbuffer == str(tmp_path / "staging" / name / "model.tflite")
        assert (tmp_path / "staging" / name / "model.tflite").read_text() == name
        assert dataclasses.replace(model, flatbuffer=models[name].flatbuffer) == models[name]
    alone = stage_models({"": models["x"]}, str(tmp_path / "staging"))[""]
    assert alone.flatbuffer == str(tmp_path / "staging" / "model.tflite")


def test_workers_need_tensorflow_if_one_model_does():
    litert, tensorflow = (
        prepared("m", engine=e).identity for e in (Engine.LITERT, Engine.TENSORFLOW)
    )
    assert needed_engine([litert, litert]) is Engine.LITERT
    assert needed_engine([litert, tensorflow]) is Engine.TENSORFLOW


def test_the_order_of_models_is_no_difference():
    small, large = prepared("s", (8, 8)), prepared("l", (9, 7))
    assert image_sizes([large, small, large]) == image_sizes([small, large]) == ((8, 8), (9, 7))

    def of(**models):
        first, *further = image_sizes(models.values())
        decode = DecodePolicy(first, further_sizes=tuple(further))
        assert DecodePolicy.from_json(decode.to_json()) == decode
        return fingerprint(
            manifest=ManifestSpec(()), models=models, decode=decode, keep_secrets=False
        )

    assert of(a=small, b=large) == of(b=large, a=small)
    assert len({of(a=small, b=large), of(a=large, b=small), of(a=small), of(a=small, c=large)}) == 4
