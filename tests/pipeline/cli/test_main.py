"""Bad arguments: one sentence, exit code 2, before any work."""

import pathlib
from importlib.metadata import version

import pytest

from image_features.pipeline.cli import main as cli
from tests import images


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(images.encode(images.noise(1)))
    (tmp_path / "list.txt").write_text("a.jpg\n")
    (tmp_path / "empty.txt").write_text("# none\n\n")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    (tmp_path / "no_uri.csv").write_text("id,where\n1,a.jpg\n")
    (tmp_path / "reserved.csv").write_text("uri,image/uri\na.jpg,x\n")
    (tmp_path / "torn.csv.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input=list.txt", "--nun_shards=2"], "did you mean --num_shards"),
        (["--input=list.txt", "--num_shards=0"], "not a positive"),
        (["--input=list.txt", "--num_shards=2", "--images_per_shard=9"], "exclude each other"),
        (["--input=list.txt", "--resize=squash"], "squash"),
        (["--input=list.txt", "--interpolation=mitchell"], "choose from"),
        (["--input=list.txt", "--antialias"], "expected one argument"),
        (["--input=list.txt", "--antialias=no", "--interpolation=area"], "not for area"),
        (["--input=list.txt", "--antialias=no", "--interpolation=nearest"], "not for nearest"),
        (["--input=list.txt", "--run_id=../up"], "--run_id"),
        ([], "--input is missing"),
        (["--input=nowhere.txt"], "does not exist"),
        (["--input=none-*.csv"], "matches"),
        (["--input=a.jpg"], "one image"),
        (["--input=empty.txt"], "--allow_empty"),
        (["--input=bad.parquet"], "read as Parquet"),
        (["--input=no_uri.csv"], "--uri_column"),
        (["--input=reserved.csv"], "rename"),
        (["--input=torn.csv.gz"], "cannot be used"),
        (["--input=list.txt", "--column_types=x"], "name:type"),
        (["--input=list.txt", "--model=nowhere"], "--model=nowhere"),
        (["--input=list.txt", "--model=."], "saved_model.pb"),
        (["--input=list.txt", "--model=builtin", "--model=untrained"], "needs a name"),
        (["--input=http://127.0.0.1:1/m.txt"], "cannot be read"),
    ],
)
def test_bad_arguments(photo, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(photo)
    model = [] if "--model" in " ".join(arguments) else ["--model=untrained"]
    assert cli.main(["extract", *model, "--output=out", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("image-features: ")
    assert says in error
    assert not list(pathlib.Path().glob("out/*"))


def test_an_output_that_exists_is_refused(photo, capsys):
    (photo / "out" / "run").mkdir(parents=True)
    arguments = [f"--input={photo}/list.txt", f"--output={photo}/out", "--run_id=run"]
    assert cli.main(["extract", "--model=untrained", *arguments]) == 2
    assert "exists already and is no run" in capsys.readouterr().err


def test_inspect_and_model_refuse_what_is_not_there(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert "no committed run" in capsys.readouterr().err
    assert cli.main(["model", "describe", str(tmp_path)]) == 2
    assert cli.main(["model"]) == 2
    assert cli.main(["nonsense"]) == 2


def test_help_reads_like_documentation(capsys):
    for arguments in (["--help"], ["extract", "--help"]):
        assert cli.main(arguments) == 0
        assert "usage:" in capsys.readouterr().out.lower()


def test_inspect_shows_a_run(photo, capsys):
    arguments = [f"--input={photo}/list.txt", f"--output={photo}/out"]
    assert cli.main(["extract", "--model=untrained", *arguments]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", f"{photo}/out"]) == 0
    shown = capsys.readouterr().out
    assert "1 in = 1 out + 0 failed" in shown
    assert "jpeg 64x48" in shown
    assert "every checksum" in shown
    (shard,) = photo.glob("out/*/features-*")
    shard.write_bytes(b"")
    assert cli.main(["inspect", f"{photo}/out"]) == 1
    assert "not the file that was committed" in capsys.readouterr().err


def test_model_describe(capsys):
    assert cli.main(["model", "describe", "untrained"]) == 0
    assert '"num_features": 1280' in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["extract"], ["gc"], ["model"]])
def test_the_version(capsys, command):
    assert cli.main([*command, "--version"]) == 0
    assert capsys.readouterr().out == f"image-features {version('image-feature-extractor')}\n"


def test_gc_says_what_it_keeps_and_until_when(photo, capsys):
    for name in ("1", "2"):
        arguments = [f"--input={photo}/list.txt", f"--output={photo}/out", f"--run_id={name}"]
        assert cli.main(["extract", "--model=untrained", *arguments]) == 0
    assert cli.main(["compact", f"{photo}/out"]) == 0
    capsys.readouterr()
    assert cli.main(["gc", f"{photo}/out"]) == 0
    nothing, merged = capsys.readouterr().out.splitlines()
    assert nothing.endswith("nothing to remove yet.")
    assert "2 merged runs are kept for 24 hours" in merged and "--merged_hours=0" in merged
    assert cli.main(["gc", f"{photo}/out", "--merged_hours=0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main(["gc", f"{photo}/out"]) == 0
    assert capsys.readouterr().out == f"{photo}/out: nothing to remove.\n"
