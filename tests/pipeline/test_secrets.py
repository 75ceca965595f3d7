"""Secrets of arguments and manifests: no message, log line or file of a run repeats one.

Every argument that can hold a secret holds this one, and whatever comes of the command is searched.
"""

from __future__ import annotations

import shlex
import sys
import traceback

import pytest

from image_features.errors import ModelError
from image_features.models import handles
from image_features.models.addresses import shown
from image_features.pipeline.argument_types import web_address
from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import parse_extract
from tests import images
from tests.http_server import ImageServer

SECRET = "hush"
QUERY = f"token={SECRET}&X-Goog-Signature={SECRET}"


@pytest.fixture(scope="module")
def server():
    files = {
        "empty.csv": b"",
        "no_uri.csv": b"a,b\n1,2\n",
        "bad.parquet": b"none",
        "torn.csv.gz": b"\x1f\x8b\x08\x00broken",
        "model.tar.gz": b"none",
        "a.jpg": images.encode(images.noise(1)),
    }
    with ImageServer(files) as server:
        signed = server.url(f"a.jpg?{QUERY}").replace("http://", f"http://me:{SECRET}@")
        lost = signed.replace("a.jpg", "lost.jpg")
        files["list.csv"] = f"uri,label\n{signed},x\n{lost},y\n".encode()
        yield server


def signed(server, name):
    return server.url(f"{name}?{QUERY}").replace("http://", f"http://me:{SECRET}@")


def everything(tmp_path, *more):
    """What a command has said, and all bytes that it has left."""
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    return "".join(more) + "".join(data.decode("latin-1") for data in files)


@pytest.mark.parametrize(
    "name", ["empty.csv", "no_uri.csv", "bad.parquet", "torn.csv.gz", "missing.csv", "list"]
)
def test_a_manifest_that_cannot_be_used(server, tmp_path, capfd, name):
    arguments = [f"--input={signed(server, name)}", f"--output={tmp_path}", "--allow_private_hosts"]
    assert cli.main(["extract", "--model=untrained", *arguments]) == 2
    assert SECRET not in everything(tmp_path, *capfd.readouterr())


@pytest.mark.parametrize("place", ["model.tar.gz", "missing.tar.gz", "missing"])
@pytest.mark.parametrize("command", ["extract", "describe"])
def test_a_model_that_cannot_be_used(server, tmp_path, capfd, place, command):
    model = signed(server, place)
    arguments = {
        "extract": ["extract", f"--input={tmp_path}", f"--model={model}", "--allow_empty"],
        "describe": ["model", "describe", model],
    }[command]
    if command == "extract":
        arguments += [f"--output={tmp_path}/out"]
    assert cli.main(arguments) == 2
    told = capfd.readouterr()
    assert place in told.err and SECRET not in everything(tmp_path, *told)


@pytest.mark.parametrize(
    "model",
    [
        f"http://me:{SECRET}@127.0.0.1:1/m.tar.gz?{QUERY}",
        f"http://no.such.host.invalid/m.tar.gz?{QUERY}",
        f"http://me:{SECRET}@[broken/m?{QUERY}",
        f"http://me:{SECRET}@127.0.0.1:port/m?{QUERY}",
        f"file:///nowhere?{QUERY}",
        f"ftp://me:{SECRET}@host/m",
    ],
)
def test_no_exception_behind_a_models_holds_a_secret(model, own_cache):
    with pytest.raises(ModelError) as found:
        handles.resolve(model)
    assert f"token={SECRET}" not in "".join(traceback.format_exception(found.value)).replace(
        model, ""
    )
    assert SECRET not in str(found.value) or model.startswith("file:")


def test_a_handle_is_shown_without_secrets():
    assert shown(f"https://me:{SECRET}@h:1/a@b?{QUERY}#x") == "https://h:1/a@b?..."
    assert shown("gs://b/a?b#c") == "gs://b/a?b#c"
    assert shown("/a@b?c") == "/a@b?c"
    assert shown("https://tfhub.dev/m/1") == "https://tfhub.dev/m/1"


@pytest.mark.parametrize(
    "options",
    [["--log_format=json"], ["--max_error_rate=0.1"], ["--keep_uri_secrets"]],
    ids=["json", "guard", "kept"],
)
def test_a_whole_run_and_all_that_shows_it(server, tmp_path, capfd, options):
    """A row fails, the notification does, and with a guard the run does, with its advice.

    Where secrets are asked for, they are in the shards and nowhere else.
    """
    arguments = [
        f"--input={signed(server, 'list.csv')}",
        f"--output={tmp_path}/out",
        f"--notify={server.url(f'404/{SECRET}?{QUERY}')}",
        "--allow_private_hosts",
        *options,
    ]
    guarded = 5 if "--max_error_rate=0.1" in options else 0
    assert cli.main(["extract", "--model=untrained", *arguments]) == guarded
    told = capfd.readouterr()
    if not guarded:
        for command in (
            ["inspect", "--samples=9"],
            ["inspect", "--json"],
            ["search", f"--uri={signed(server, 'a.jpg')}"],
            ["report", f"--output={tmp_path}/page.html"],
        ):
            name, *more = command
            assert cli.main([name, f"{tmp_path}/out", *more]) == 0
        told = (*told, *capfd.readouterr())
        assert "1 of 2 images" in told[0]
        if "--keep_uri_secrets" in options:
            for shard in (*tmp_path.rglob("features-*"), *tmp_path.rglob("errors-*")):
                assert SECRET in shard.read_text("latin-1")
                shard.unlink()
            for index in tmp_path.rglob("index-*"):
                index.unlink()
    else:
        assert "To go on" in told.err and "--run_id=" in told.err
    assert SECRET not in everything(tmp_path, *told)


@pytest.mark.parametrize(
    ("started", "program"),
    [
        ("/of/the/package/__main__.py", [sys.executable, "-m", "image_features"]),
        ("/not/in the/path/image-features", ["/not/in the/path/image-features"]),
        ("/usr/bin/something-else", ["image-features"]),
    ],
)
def test_a_command_to_copy_is_exact(monkeypatch, started, program):
    monkeypatch.setattr(sys, "argv", [started])
    plain = ["--input=a b.csv", "--output", "o'ut", "--num_shards=2"]
    line = command_again("extract", plain, "r1")
    assert shlex.split(line) == [*program, "extract", *plain, "--run_id=r1"]


def test_a_command_to_copy_hides_what_must_not_be_seen():
    assert command_again("extract", ["--run_id", "r1"], "r1").count("r1") == 1
    hidden = command_again(
        "extract",
        [
            f"--model=http://me:{SECRET}@h/m?{QUERY}",
            "--input",
            f"http://h/a b?{QUERY}",
            f"--notify=http://h/{SECRET}",
            "--notify",
            f"http://h/{SECRET}",
        ],
        "r1",
    )
    assert SECRET not in hidden and hidden.endswith("# with your own words for REDACTED")
    assert "--run_id=r1" in shlex.split(hidden, comments=True)


def test_engines_are_shown_no_secret():
    signed_url = f"http://me:{SECRET}@h/m?{QUERY}"
    ours, beams = parse_extract(
        [f"--model={signed_url}", "--input", signed_url, f"--input={signed_url}", "--output=x"]
    )
    assert (ours.model, ours.input) == ([signed_url], [signed_url] * 2)
    assert SECRET not in str(beams.get_all_options()) + str(beams.display_data())


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--notfy=http://h/{SECRET}"],
        [f"--notify=hooks.example/{SECRET}"],
        [f"--notify=http://[broken/{SECRET}"],
        [f"--notify=http://h:port/{SECRET}"],
        [f"--notify=http:///{SECRET}"],
        [f"--output=http://me:{SECRET}@h/x?{QUERY}"],
    ],
)
def test_arguments_that_are_refused_are_not_repeated(tmp_path, capfd, arguments):
    arguments = [f"--input={tmp_path}", f"--output={tmp_path}/out", *arguments]
    assert cli.main(["extract", *arguments]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and SECRET not in told


def test_a_secret_address_is_checked_when_it_is_given():
    assert web_address(f"https://me:{SECRET}@h:1/{SECRET}") == f"https://me:{SECRET}@h:1/{SECRET}"
