"""`pack`: loose images become archives that others read, and that are an input in turn."""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

import image_features
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.layout import PackLayout
from image_features.pipeline.dataset.pack import Pack
from image_features.pipeline.launch.prepare_pack import _check_apart
from image_features.transforms.archives.options import FOUND
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import EncodedImage, ImageRef
from image_features.transforms.write_archives import PackFormat, _NameDoFn
from tests import datasets, gcs, images

FORMATS = {"a.jpg": "JPEG", "b.jpeg": "JPEG", "c.png": "PNG", "d.webp": "WEBP", "e": "GIF"}
GOOD = (*FORMATS, "f.bmp", "page.jpg")
PAGE = b"<!DOCTYPE html><html>no image</html>"
REASONS = {"empty_file": 1, "not_an_image": 1, "not_found": 1}


def row(number: int) -> dict[str, object]:
    """Returns the columns of an image, of all types."""
    return {
        "number": number,
        "share": number / 3,
        "whole": float(number),
        "good": number % 2 == 0,
        "name": f"Zoë \u2028 {number}\n",
        "raw": {"base64": base64.b64encode(bytes([number, 0, 255])).decode()},
        "labels": list(range(number)),
        "seldom": "there" if number % 3 else None,
    }


@pytest.fixture(scope="module")
def loose(tmp_path_factory) -> pathlib.Path:
    """Makes a manifest of loose files, of which four rows give no image."""
    directory = tmp_path_factory.mktemp("loose")
    for number, (name, format) in enumerate(FORMATS.items()):
        (directory / name).write_bytes(images.encode(images.noise(number), format))
    (directory / "f.bmp").write_bytes(images.encode(images.noise(9), "BMP"))
    (directory / "page.jpg").write_bytes(PAGE)
    (directory / "page").write_bytes(PAGE)
    (directory / "empty.jpg").write_bytes(b"")
    names = [*GOOD, "page", "empty.jpg", "gone.jpg"]
    rows = [{"uri": name, **row(number)} for number, name in enumerate(names)]
    lines = [json.dumps(line) for line in [*rows, {"uri": "a.jpg", **row(50)}]]
    (directory / "m.jsonl").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="module")
def packed(loose, tmp_path_factory) -> dict[str, pathlib.Path]:
    """Packs the manifest in both formats, into an empty directory and one that is to be made."""
    out = tmp_path_factory.mktemp("packed")
    (out / "tar").mkdir()
    assert pack(loose / "m.jsonl", out / "tar", "--images_per_archive=4") == 0
    assert pack(loose / "m.jsonl", out / "deep/pq", "--format=parquet") == 0
    return {"tar": out / "tar", "parquet": out / "deep/pq"}


def pack(*arguments: object) -> int:
    return cli.main(["pack", *map(str, arguments)])


def digests(directory: pathlib.Path) -> dict[str, str]:
    found = Pack.read(str(directory))
    assert found is not None
    return {file.name: file.sha256 for file in found.all_files}


def members(directory: pathlib.Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                file = archive.extractfile(member)
                assert member.mode == 0o644 and file is not None and member.name not in found
                found[member.name] = file.read()
    return found


def test_archives_hold_files_and_rows_as_they_are(loose, packed):
    found = members(packed["tar"])
    assert len(found) == 2 * len(GOOD)
    for number, name in enumerate(GOOD):
        path = str(loose / name)
        key = image_key(path)
        extension = {"b.jpeg": "jpg", "e": "gif"}.get(name, name.rpartition(".")[2])
        assert found[f"{key}.{extension}"] == (loose / name).read_bytes()
        assert json.loads(found[f"{key}.json"]) == {"source_uri": path, **row(number)}
    made = Pack.read(str(packed["tar"]))
    assert [file.name for file in made.files()] == [
        f"images-0000{n}-of-00003.tar" for n in (0, 1, 2)
    ]
    assert (made.counts.rows_read, made.counts.duplicates, made.counts.rows_out) == (11, 1, 7)
    assert dict(made.counts.failed_by_reason) == REASONS
    assert sorted(os.listdir(packed["tar"])) == sorted(
        ["pack.json", *(file.name for file in made.all_files)]
    )
    listed = []
    for path in packed["tar"].glob("*.tar"):
        with tarfile.open(path) as archive:
            names = archive.getnames()
        keys = [name.partition(".")[0] for name in names]
        assert keys == sorted(keys) and keys[::2] == keys[1::2]
        # An archive may be empty: where the images are tells which one has them.
        told = subprocess.run(["tar", "tf", path], capture_output=True, check=True, text=True)
        assert told.stdout.splitlines() == names
        listed += names
    assert sorted(listed) == sorted(found)


def test_webdataset_and_datasets_read_them(loose, packed, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import datasets as hugging_face
    import webdataset

    urls = sorted(map(str, packed["tar"].glob("*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert {json.loads(sample["json"])["number"] for sample in samples} == set(range(len(GOOD)))
    files = str(packed["parquet"] / "*.parquet")
    rows = hugging_face.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    assert isinstance(rows.features["image"], hugging_face.Image)
    plain = rows.cast_column("image", hugging_face.Image(decode=False))
    for found in plain:
        name = pathlib.Path(found["source_uri"]).name
        number = GOOD.index(name)
        assert found["image"]["bytes"] == (loose / name).read_bytes()
        assert found["image"]["path"].startswith(image_key(found["source_uri"]) + ".")
        expected = row(number) | {"raw": bytes([number, 0, 255])}
        assert {**found, "share": pytest.approx(number / 3)} == {
            "image": found["image"],
            "source_uri": found["source_uri"],
            **expected,
            "share": found["share"],
        }
    assert next(iter(rows.filter(lambda uri: uri.endswith("e"), input_columns="source_uri")))[
        "image"
    ].size == (64, 48)


def test_features_and_columns_are_those_of_loose_files(loose, packed, tmp_path):
    # A column that had another type in archives would be refused beside the manifest's.
    inputs = [loose / "m.jsonl", packed["tar"], packed["parquet"]]
    run = datasets.extract(inputs[0], tmp_path, "run", *(f"--input={path}" for path in inputs[1:]))
    found: dict[str, dict[str, dict[str, bytes]]] = {"": {}, "tar": {}, "parquet": {}}
    for example in datasets.read_examples(run):
        fields = dict(example.features.feature)
        uri = fields["image/uri"].bytes_list.value[0].decode()
        archive = uri.partition("!/")[0].rpartition(".")[2] if "!/" in uri else ""
        source = fields["source_uri"].bytes_list.value[0].decode() if archive else uri
        found[archive][source] = {
            name: value.SerializeToString()
            for name, value in fields.items()
            if name not in ("source_uri", "image/uri", "image/key")
        }
    assert len(found[""]) == 6
    assert found["tar"] == found[""] and found["parquet"] == found[""]
    # What is called an image and is none fails as it does alone, in either kind of archive.
    assert datasets.counts(run)[2] == 4 + 1 + 1


def test_the_same_images_are_the_same_bytes(loose, packed, tmp_path):
    lines = (loose / "m.jsonl").read_text().splitlines()
    # Of two rows for one image the first counts, so that these two keep their order.
    first, last = lines[0], lines[-1]
    middle = lines[1:-1]
    random.Random(1).shuffle(middle)
    (loose / "mixed.jsonl").write_text("\n".join([*middle, first, last]))
    options = {"tar": "--images_per_archive=4", "parquet": "--format=parquet"}
    for name, option in options.items():
        assert pack(loose / "mixed.jsonl", tmp_path / name, option) == 0
        made, before = digests(tmp_path / name), digests(packed[name])
        archives = [file for file in made if file.startswith("images-")]
        assert archives and {made[file] for file in archives} < set(before.values())


def test_rows_that_failed_are_packed_when_they_are_mended(loose, packed, tmp_path):
    errors = packed["tar"] / "errors-00000-of-00001.jsonl"
    told = {pathlib.Path(e["uri"]).name: e for e in map(json.loads, errors.open())}
    assert {name: error["reason"] for name, error in told.items()} == {
        "page": "not_an_image",
        "empty.jpg": "empty_file",
        "gone.jpg": "not_found",
    }
    assert told["gone.jpg"]["labels"] == list(range(9))
    images.write(loose / "gone.jpg", 5)
    try:
        assert pack(errors, tmp_path / "more") == 0
    finally:
        (loose / "gone.jpg").unlink()
    found = members(tmp_path / "more")
    key = image_key(str(loose / "gone.jpg"))
    assert list(found) == [f"{key}.jpg", f"{key}.json"]
    assert json.loads(found[f"{key}.json"])["raw"] == row(9)["raw"]


def test_archives_are_packed_anew_and_say_where_images_are_from(loose, packed, tmp_path):
    again = image_features.pack(
        [str(packed["tar"])], str(tmp_path / "again"), format="parquet", images_per_archive=3
    )
    import pyarrow.parquet as pq

    rows = [line for file in again.files() for line in pq.read_table(again.path(file)).to_pylist()]
    before = pq.read_table(packed["parquet"] / "images-00000-of-00001.parquet").to_pylist()
    assert len(again.files()) == 3

    def by_source(found):
        return {r["source_uri"]: r | {"image": r["image"]["bytes"]} for r in found}

    assert by_source(rows) == by_source(before)


def test_what_is_there_is_kept(loose, packed, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in packed["tar"].iterdir()}
    assert pack(loose / "m.jsonl", packed["tar"], "--images_per_archive=4") == 0
    assert capsys.readouterr().out == f"{packed['tar']} is committed already.\n"
    assert pack(loose / "m.jsonl", packed["tar"], "--format=parquet") == 2
    assert "committed with another input or other options; name another directory" in (
        capsys.readouterr().err
    )
    assert {path: path.stat().st_mtime_ns for path in packed["tar"].iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    assert pack(loose / "m.jsonl", tmp_path / "mine") == 2
    assert "exists already and holds no packed images" in capsys.readouterr().err
    # Whoever lists the runs of the directory above sees none.
    with pytest.raises(image_features.RunNotFoundError):
        image_features.runs(str(packed["tar"].parent))


def test_archives_of_a_packing_that_goes_on_are_no_input(packed, tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(packed["tar"], unfinished)
    (unfinished / "pack.json").rename(tmp_path / "pack.json")
    (unfinished / ".staging").mkdir()
    (unfinished / ".staging" / "launch.json").write_text("{}")
    assert pack(unfinished, tmp_path / "again") == 2
    assert "are not all there, since `pack` has not ended: run it again" in capsys.readouterr().err
    (tmp_path / "pack.json").rename(unfinished / "pack.json")
    assert pack(unfinished, tmp_path / "again") == 0


def test_what_cannot_be_packed_is_said(loose, tmp_path, capsys):
    (tmp_path / "gone.txt").write_text("nothing.jpg")
    assert pack(tmp_path / "gone.txt", tmp_path / "out") == 5
    assert "None of the 1 rows could be packed: 1 not_found" in capsys.readouterr().err
    assert not (tmp_path / "out" / "pack.json").exists()
    assert pack(tmp_path / "gone.txt", tmp_path / "out", "--max_error_rate=1") == 0
    assert len(digests(tmp_path / "out")) == 2
    (tmp_path / "n.jsonl").write_text(json.dumps({"uri": "a.jpg", "source_uri": 7}))
    assert pack(tmp_path / "n.jsonl", tmp_path / "n") == 2
    assert "'source_uri' of the type int64" in capsys.readouterr().err
    assert pack(tmp_path / "n.jsonl", "gs://bucket") == 2
    assert pack(tmp_path / "n.jsonl") == 2
    assert not (tmp_path / "n").exists()


def test_loose_objects_are_read_once(monkeypatch):
    asked: collections.Counter[tuple[str, str]] = collections.Counter()
    passed_on = gcs.Proxy.ask

    def ask(proxy, method, path, body, headers):
        name, _, query = path.partition("?")
        reads = method == "GET" and "alt=media" in query
        writes = method == "POST" and "/upload/" in name
        if reads or writes:
            asked["reads" if reads else "writes", re.split("%2F|/", name)[-2]] += 1
        return passed_on(proxy, method, path, body, headers)

    monkeypatch.setattr(gcs.Proxy, "ask", ask)
    with gcs.emulator(monkeypatch, "images") as bucket:
        for n in range(40):
            bucket.blob(f"in/{n}.jpg").upload_from_string(images.encode(images.noise(n)))
        asked.clear()
        assert pack("gs://images/in", "gs://images/out", "--images_per_archive=20") == 0
        assert asked["reads", "in"] == 40
        assert (
            sum(n for (kind, place), n in asked.items() if kind == "reads" and place != "in") <= 6
        )
        assert sum(n for (kind, _), n in asked.items() if kind == "writes") <= 14
        found = json.loads(bucket.blob("out/pack.json").download_as_bytes())
        names = {blob.name.removeprefix("out/") for blob in bucket.list_blobs(prefix="out/")}
    assert names == {"pack.json", *(file["name"] for file in found["files"])}
    assert found["counts"]["rows_out"] == 40 and len(found["files"]) == 3


@pytest.mark.parametrize("keeps", [False, True])
def test_secrets_of_uris_are_not_packed(keeps):
    uri = "http://me:hush@host/a?token=hush"
    jpeg = images.encode(images.noise(0))
    image = EncodedImage(ImageRef(uri, image_key(uri)), jpeg)
    (made,) = _NameDoFn(PackFormat.TAR, keeps).process(image)
    assert (b"hush" in made.payload) == keeps and jpeg in made.payload


def test_columns_that_no_reader_of_tar_takes_are_error_rows():
    ref = ImageRef("/a.jpg", image_key("/a.jpg"), columns=(("vector", "x" * 2**20),))
    image = EncodedImage(ref, images.encode(images.noise(0)))
    (failed,) = _NameDoFn(PackFormat.TAR, False).process(image)
    assert failed.tag == "errors" and failed.value.reason == "bad_manifest_row"
    assert "--format=parquet" in failed.value.message
    (made,) = _NameDoFn(PackFormat.PARQUET, False).process(image)
    assert len(made.payload) > 2**20


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("photos", True),
        ("photos/out", True),
        ("photos/**", True),
        ("*/*/*.tar", True),
        ("photos/*.tar", False),
        ("photos/**/*.jpg", False),
        ("photos/o", False),
    ],
)
def test_archives_that_would_be_their_own_input_are_refused(source, refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    layout = PackLayout(str(tmp_path / "link/out"))
    spec = ManifestSpec((Source(str(tmp_path / source), None),))
    with pytest.raises(image_features.UsageError) if refused else contextlib.nullcontext():
        _check_apart(spec, layout)


def test_samples_come_out_of_blocks_of_any_size():
    from image_features.transforms.shards.samples import Sample, sample_stream

    samples = [
        Sample(f"{n:032x}", "jpg", f"u{n}", (("n", n),), bytes([n]) * n * 1000) for n in range(9)
    ]
    data = b"".join(sample.to_bytes() for sample in samples)
    for size in (1, 999, 10**9):
        found: list[Sample] = []
        with sample_stream(found.append).whole() as stream:
            for at in range(0, len(data), size):
                stream.write(data[at : at + size])
        assert found == samples
    with pytest.raises(ValueError, match="not whole"), sample_stream(print).whole() as stream:
        stream.write(data[:20])


def test_groups_of_rows_are_bounded_and_our_files_know_their_images(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    from image_features.transforms.manifests.columns import Column, Kind
    from image_features.transforms.shards import parquet_content
    from image_features.transforms.shards.samples import Sample
    from image_features.transforms.shards.shard_content import HashingSink

    monkeypatch.setattr(parquet_content, "_GROUP_BYTES", 50_000)
    rng = np.random.default_rng(0)
    columns = (Column("url", Kind.STRING), Column("thumb", Kind.BYTES), Column("a.b", Kind.INT64))
    path = tmp_path / "images-00000-of-00001.parquet"
    with (
        path.open("wb") as file,
        parquet_content.ParquetContent(columns).open(HashingSink(file), 12) as rows,
    ):
        for n in range(12):
            jpeg = images.encode(images.noise(n)) + rng.bytes(15_000)
            values = (("url", "http://x/y.jpg"), ("thumb", jpeg), ("a.b", n))
            rows.write(Sample(f"{n:032x}", "jpg", str(n), values, jpeg).to_bytes())
    written = pq.ParquetFile(path).metadata
    assert written.num_rows == 12 and written.num_row_groups == 3
    rows = list(ParquetInput(str(path), HttpPolicy(), None, FOUND, listed=False).rows())
    assert [row.uri for row in rows] == [f"{path}!/row/{n}" for n in range(12)]
    assert rows[3].values["url"] == "http://x/y.jpg" and rows[3].values["a.b"] == 3


def test_a_packing_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(20):
        (photos / f"{n}.jpg").write_bytes(images.encode(images.noise(n, 400, 400)))
    for n in range(20, 1200):
        os.link(photos / f"{n % 20}.jpg", photos / f"{n}.jpg")
    command = [sys.executable, "-m", "image_features", "pack", str(photos)]
    limit = ["--images_per_archive=150", "--log_format=json"]
    assert pack(photos, tmp_path / "calm", *limit) == 0
    out = tmp_path / "out"
    process = subprocess.Popen([*command, str(out), *limit], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if len(list(out.glob(".staging/images-*/*"))) > 2:
            process.kill()
        time.sleep(0.001)
    assert process.returncode == -signal.SIGKILL and not (out / "pack.json").exists()
    done = subprocess.run([*command, str(out), *limit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert sum(event["rows"] for event in events if event.get("event") == "taken_over") > 0
    assert digests(out) == digests(tmp_path / "calm")
    assert not (out / ".staging").exists()
