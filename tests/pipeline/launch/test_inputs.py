"""Inputs that a launch refuses: exit code 2 and one sentence, before any work."""

import bz2
import gzip
import os

import pytest

from image_features.pipeline.locations import explain
from tests import archives
from tests.datasets import extract

MANY = "".join(f"https://h.example/{i * i}.jpg\n" for i in range(20_000)).encode()
# Without the time of day, as the ids of tests have to be the same in every process.
ZIPPED = gzip.compress(MANY, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.txt.gz", ZIPPED[:-3000], "m/cut.txt.gz is damaged or cut short"),
        ("garbage.txt.gz", ZIPPED + b"x", "m/garbage.txt.gz is damaged or cut short"),
        ("head.jsonl.gz", ZIPPED[:40], "m/head.jsonl.gz is damaged or cut short"),
        ("plain.csv.gz", b"uri\na.jpg\n", "m/plain.csv.gz is empty, or damaged"),
        ("cut.txt.bz2", bz2.compress(MANY)[:-9], "m/cut.txt.bz2 is damaged or cut short"),
        ("m.txt", b"PK\x03\x04\n", "m/m.txt is compressed as .zip, which is not read"),
        ("m.csv", b"uri,caf\xe9\n", "The header of m/m.csv is not UTF-8"),
        ("m.tsv", "uri\tn\n".encode("utf-16"), "m/m.tsv looks like UTF-16"),
        ("m.csv", b"uri;n\n", "It seems to separate its fields by semicolons"),
        ("m.csv", b"uri,n\n", "names no image"),
        ("m.csv", b"", "names no image"),
    ],
)
def test_manifests_that_cannot_be_read_end_a_launch(
    tmp_path, monkeypatch, capsys, name, content, says
):
    monkeypatch.chdir(tmp_path)
    os.mkdir("m")
    (tmp_path / "m" / name).write_bytes(content)
    extract(f"m/{name}", tmp_path / "out", "run", code=2)
    error = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "run").exists()


def test_a_pipe_ends_a_launch(tmp_path, capsys):
    end, other = os.pipe()
    extract(f"/dev/fd/{end}", tmp_path / "out", "run", code=2)
    assert "can be read only once" in capsys.readouterr().err
    os.close(end)
    os.close(other)


def test_an_output_that_is_not_utf8_ends_a_launch(tmp_path, capsys):
    (tmp_path / "m.txt").write_text("a.jpg\n")
    output = tmp_path / os.fsdecode(b"caf\xe9")
    extract(tmp_path / "m.txt", output, "run", code=2)
    assert "its name is not UTF-8" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_named():
    error = PermissionError(13, "Permission denied", "/there/m.csv")
    assert explain(error) == "/there/m.csv: Permission denied"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--image_column=x",
            "--image_column=x says nothing of tar, which is all that the input has",
        ),
        ("--image_feature=x", "--image_feature=x says nothing of tar"),
        ("--image_member=.,", "--image_member=., names no extension"),
    ],
)
def test_what_is_said_of_other_archives_ends_a_launch(tmp_path, capsys, option, says):
    (tmp_path / "a.tar").write_bytes(archives.tar({"a.jpg": b"x"}))
    extract(tmp_path / "a.tar", tmp_path / "out", "run", option, code=2)
    assert says in capsys.readouterr().err
