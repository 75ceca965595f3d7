"""Runs whose images lie in archives, from their input to later nights."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.finetune.labelled import read_images
from image_features.pipeline.report.thumbnails import Pictured, read_thumbnails
from image_features.transforms.images.policy import DecodePolicy
from tests import archives, datasets, images
from tests.datasets import counts, lines, names, record_of, vectors


def retry(run, name, *options):
    """Reads what failed in a run again; returns the new run's directory."""
    arguments = ["--model=untrained", f"--output={run.parent}", f"--run_id={name}", *options]
    assert cli.main(["extract", f"--retry_errors={run.name}", *arguments]) == 0
    return run.parent / name


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run over loose files, archives, and manifests that name either."""
    place = tmp_path_factory.mktemp("mixed")
    loose = images.write_noise(place / "loose", 12)
    files = archives.files(loose)
    odd = place / "photos.tar!"
    odd.mkdir()
    shutil.move(loose / "11.jpg", odd / "11.jpg")
    (place / "all").mkdir()
    (place / "all" / "a.tar").write_bytes(
        archives.tar(
            {"d/0.json": b'{"n": 1}'} | {f"d/{n}.jpg": files[f"{n}.jpg"] for n in range(4)}
        )
    )
    (place / "all" / "4.jpg").write_bytes(files["4.jpg"])
    (place / "whole.tar").write_bytes(
        archives.tar({"5.jpg": files["5.jpg"], "broken.jpg": files["broken.jpg"]})
    )
    (place / "named.tgz").write_bytes(
        archives.tar({f"{n}.jpg": files[f"{n}.jpg"] for n in (6, 7, 8)}, "w:gz")
    )
    (place / "m.csv").write_text(
        "uri,label\n"
        "loose/9.jpg,loose\n"
        "whole.tar,whole\n"
        "whole.tar,again\n"
        "named.tgz!/7.jpg,member\n"
        f"file://{place}/named.tgz!/6.jpg,member\n"
        "named.tgz!/gone.jpg,member\n"
        "gone.tar,gone\n"
        "all/a.tar!/d/3.jpg,first\n"
    )
    run = datasets.extract(
        place / "m.csv", place / "out", "run", f"--input={place}/all", f"--input={odd}"
    )
    return place, run


def test_all_kinds_of_input_mix(mixed):
    place, run = mixed
    record = record_of(run)["counts"]
    assert (record["rows_in"], record["rows_out"], record["rows_failed"]) == (13, 10, 3)
    assert record["duplicates"] == 1
    assert names(run) == sorted(f"{n}.jpg" for n in (0, 1, 2, 3, 4, 5, 6, 7, 9, 11))
    errors = {error["uri"]: error for error in lines(run, "errors")}
    assert {uri.removeprefix(f"{place}/"): error["reason"] for uri, error in errors.items()} == {
        "whole.tar!/broken.jpg": "corrupt",
        "named.tgz!/gone.jpg": "not_found",
        "gone.tar": "not_found",
    }
    # What a row says of an archive is said of all images in it.
    assert errors[f"{place}/whole.tar!/broken.jpg"]["label"] == "whole"
    assert errors[f"{place}/gone.tar"]["label"] == "gone"


def test_columns_come_from_rows_and_archives(mixed):
    place, run = mixed
    arrays = reading.load_numpy(str(run))
    found = {
        uri.removeprefix(f"{place}/"): (label, n)
        for uri, label, n in zip(
            arrays.uris, arrays.columns["label"], arrays.columns["n"], strict=True
        )
    }
    assert found["loose/9.jpg"][0] == "loose"
    assert found["whole.tar!/5.jpg"][0] == "whole"
    assert found["named.tgz!/7.jpg"][0] == "member"
    assert found["all/a.tar!/d/0.jpg"][1] == 1


def test_features_are_those_of_loose_files(mixed, tmp_path):
    _, run = mixed
    loose = images.write_noise(tmp_path / "loose", 12)
    expected = vectors(datasets.extract(loose, tmp_path / "out", "loose"))
    expected = {pathlib.Path(uri).name: vector for uri, vector in expected.items()}
    for uri, vector in vectors(run).items():
        assert vector == expected[uri.rpartition("/")[2]]


def test_pictures_are_read_back_from_archives(mixed, capsys):
    place, run = mixed
    uris = [
        f"{place}/named.tgz!/6.jpg",
        f"{place}/loose/9.jpg",
        f"{place}/named.tgz!/gone.jpg",
        f"{place}/named.tgz!/7.jpg",
        f"{place}/photos.tar!/11.jpg",
        f"{place}/gone.tar!/1.jpg",
    ]
    pictures = read_thumbnails([Pictured(uri) for uri in uris], 60)
    assert [picture is not None for picture in pictures] == [True, True, False, True, True, False]
    assert pictures == [read_thumbnails([Pictured(uri)], 60)[0] for uri in uris]
    assert cli.main(["search", str(run), f"{place}/named.tgz!/6.jpg", "-k1", "--json"]) == 0
    nearest = json.loads(capsys.readouterr().out)
    assert nearest["uri"] == uris[0] and nearest["similarity"] > 0.9999
    assert cli.main(["search", str(run), f"--uri={place}/whole.tar!/5.jpg", "-k1"]) == 0


def test_what_failed_is_read_again(mixed):
    place, run = mixed
    data = images.encode(images.noise(77))
    (place / "gone.tar").write_bytes(archives.tar({"77.jpg": data, "78.jpg": data[:50]}))
    (place / "whole.tar").write_bytes(archives.tar({"broken.jpg": data}))
    try:
        again = retry(run, "again")
        assert counts(again)[:3] == (4, 2, 2)
        assert names(again) == ["77.jpg", "broken.jpg"]
        assert sorted(reading.load_numpy(str(again)).columns["label"]) == ["gone", "whole"]
    finally:
        (place / "gone.tar").unlink()


@pytest.fixture
def packed(tmp_path):
    """A directory of two archives and a loose file."""
    place = tmp_path / "packed"
    place.mkdir()
    write(place / "a.tar", range(4))
    write(place / "b.tar", range(4, 8))
    images.write(place / "8.jpg", 8)
    return place


def write(path, seeds):
    path.write_bytes(archives.tar({f"{n}.jpg": images.encode(images.noise(n)) for n in seeds}))


def test_later_nights_take_what_has_changed(packed, night):
    first = night("1", input=packed)
    assert counts(first) == (9, 9, 0, 0, 0)
    assert counts(night("2", input=packed)) == (9, 0, 0, 9, 0)
    # Another picture has the name of one, one is new and one is gone.
    members = {f"{n}.jpg": images.encode(images.noise(n + (n == 5) * 90)) for n in (4, 5, 6, 20)}
    (packed / "b.tar").write_bytes(archives.tar(members))
    third = night("3", "--verify_content", input=packed)
    assert counts(third) == (9, 2, 0, 7, 1)
    assert names(third) == ["20.jpg", "5.jpg"]
    # The archive is not the one that was known, and so none of its images.
    assert counts(night("4", "--tombstone_removed", input=packed)) == (9, 2, 0, 7, 1)
    assert "7.jpg" not in names(first.parent)


def test_damage_removes_nothing(packed, night):
    night("1", input=packed)
    data = (packed / "b.tar").read_bytes()
    (packed / "b.tar").write_bytes(data[:3000])
    (packed / "8.jpg").unlink()
    second = night("2", "--tombstone_removed", input=packed)
    (error,) = lines(second, "errors")
    assert (error["uri"], error["reason"]) == (f"{packed}/b.tar", "corrupt_archive")
    assert record_of(second)["counts"]["rows_removed"] == 0
    assert names(second.parent) == sorted(f"{n}.jpg" for n in range(9))
    # It is mended, and read again.
    (packed / "b.tar").write_bytes(data)
    mended = retry(second, "3", "--incremental")
    assert record_of(mended)["counts"]["rows_failed"] == 0
    assert record_of(mended)["counts"]["rows_in"] == 4
    third = night("4", "--tombstone_removed", input=packed)
    assert record_of(third)["counts"]["rows_removed"] == 1
    assert names(third.parent) == sorted(f"{n}.jpg" for n in range(8))


def test_labelled_images_come_in_the_order_of_their_rows(tmp_path):
    data = {f"{n}.jpg": images.encode(images.noise(n)) for n in range(6)}
    (tmp_path / "a.tar").write_bytes(archives.tar(data))
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    order = [5, 0, 3, 1, 4, 2]
    rows = [f"a.tar!/{n}.jpg,{n}" if n % 2 else f"{n}.jpg,{n}" for n in order]
    policy = DecodePolicy(image_size=(8, 8))
    found = []
    for name, lines_of in (("packed", rows), ("loose", [f"{n}.jpg,{n}" for n in order])):
        (tmp_path / f"{name}.csv").write_text("uri,label\n" + "\n".join([*lines_of, "no.jpg,7"]))
        location = str(tmp_path / f"{name}.csv")
        found.append(read_images(location, policy=policy, label_column="label"))
    packed, loose = found
    assert packed.labels == loose.labels == tuple(map(str, order))
    assert (packed.pixels == loose.pixels).all()
    assert packed.failed == loose.failed == {"not_found": 1}
