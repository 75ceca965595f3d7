"""The command `dedup` on a small collection of pictures, and what it writes."""

import hashlib
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.transforms.manifests.columns import parse_column_types
from tests import datasets, images

# What follows the name of a picture says how it was copied; a mirrored one is another to the model.
_NAMES = (
    *("0", "0-recompressed", "0-resized", "0-mirrored"),
    *("1 ö\n#%", "1-same", "2", "2-resized", "3"),
)


def _copy(name):
    picture = images.noise(int(name[0]), 160, 120)
    if "resized" in name:
        return images.encode(picture.resize((96, 72)), "PNG")
    if "recompressed" in name:
        return images.encode(picture, quality=60)
    if "mirrored" in name:
        return images.encode(ImageOps.mirror(picture), "PNG")
    return images.encode(picture, "PNG")


def _columns(number):
    """Returns values of each type; the first rows lack some of them."""
    return {
        "label": None if number < 5 else number,
        "score": None if number % 2 else [0.1, float("nan"), -3.0][number % 3],
        "tags": [f"t{i}" for i in range(number % 3)],
        "data": {"base64": "AP8="},
        "key": "a, 'b' \n \u2028 \U0001f600",
        "good": number % 2 == 0,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset of pictures and their copies, one of which lies in an archive; and its result."""
    place = tmp_path_factory.mktemp("dedup")
    photos = place / "photos"
    photos.mkdir()
    rows = []
    for number, name in enumerate(_NAMES):
        uri = photos / f"{name}.png"
        uri.write_bytes(_copy(name))
        if name == "2-resized":
            with tarfile.open(photos / "x.tar", "w") as archive:
                archive.add(uri, "in/2.png")
            uri = f"{photos}/x.tar!/in/2.png"
        rows.append({"uri": str(uri), **_columns(number)})
    manifest = place / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    types = "label:int64?,score:float32?"
    datasets.extract(manifest, place / "out", "1", "--num_shards=2", f"--column_types={types}")
    assert cli.main(["dedup", str(place / "out"), str(place / "dups")]) == 0
    return place


def _record(directory):
    return json.loads((directory / "dedup.json").read_text())


def _lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def _name(uri):
    return uri.rpartition("/")[2].removesuffix(".png")


def test_groups_are_what_was_copied(place):
    table = pq.read_table(place / "dups/groups.parquet")
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        *("group int64", "key string", "uri string", "similarity float", "keep bool")
    ]
    groups = {}
    for row in table.to_pylist():
        groups.setdefault(row["group"], []).append((_name(row["uri"]), row["keep"]))
    assert [[keep for _, keep in group] for group in groups.values()] == [
        *([True, False, False], [True, False], [True, False])
    ]
    assert sorted(sorted(name for name, _ in group) for group in groups.values()) == [
        *(["0", "0-recompressed", "0-resized"], ["1 ö\n#%", "1-same"], ["2", "2"])
    ]
    # The largest image is kept.
    assert "0-resized" not in [group[0][0] for group in groups.values()]
    similarity = table["similarity"].to_numpy()
    assert (similarity[table["keep"].to_numpy()] == 1).all() and (similarity >= 0.98).all()


def test_the_commit_file_counts_and_lists_everything(place):
    record = _record(place / "dups")
    assert record["counts"] == {
        "rows": 9,
        "groups": 3,
        "same_files": 1,
        "near": 3,
        "dropped": 4,
        "kept": 5,
        "zero_rows": 0,
    }
    assert record["runs"].keys() == {"1"} and record["threshold"] == 0.98
    assert record["since"] is None and record["model"]["num_features"] == 1280
    for entry in record["files"]:
        data = (place / "dups" / entry["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
    names = [entry["name"] for entry in record["files"]]
    assert names == ["groups.parquet", "keep.jsonl", "drop.jsonl", "index.html"]
    assert datasets.files(place / "dups") == sorted([*names, "dedup.json"])


def test_manifests_divide_the_dataset(place):
    kept, dropped = (_lines(place / "dups" / f"{name}.jsonl") for name in ("keep", "drop"))
    assert (len(kept), len(dropped)) == (5, 4)
    rows = {row["uri"]: row for row in _lines(place / "m.jsonl")}
    found = {row["uri"]: row for row in [*kept, *dropped]}
    assert found.keys() == rows.keys()
    for uri, row in found.items():
        assert next(iter(row)) == "uri"
        for name, value in rows[uri].items():
            if name == "score" and value is not None:
                value = float(np.float32(value))
            np.testing.assert_equal(row[name], value)
    table = pq.read_table(place / "dups/groups.parquet").to_pylist()
    assert {row["uri"] for row in dropped} == {row["uri"] for row in table if not row["keep"]}


def test_what_is_kept_is_extracted_again_without_a_loss(place):
    record = _record(place / "dups")
    (types,) = record["input_options"]
    declared = parse_column_types(types.partition("=")[2])
    datasets.extract(place / "dups/keep.jsonl", place / "again", "1", types)
    first, again = (reading.load_numpy(str(place / name)) for name in ("out", "again"))
    uris = [row["uri"] for row in _lines(place / "dups/keep.jsonl")]
    assert sorted(again.uris) == sorted(uris)
    rows = [list(first.uris).index(uri) for uri in again.uris]
    assert bytes(first.features[rows]) == bytes(again.features)
    columns = datasets.record_of(place / "again/1")["columns"]
    assert columns == datasets.record_of(place / "out/1")["columns"]
    assert {column["name"] for column in columns} == declared.keys() == set(_columns(0))
    before = {e.features.feature["image/uri"].bytes_list.value[0]: e for e in _rows(place / "out")}
    for example in _rows(place / "again"):
        assert example == before[example.features.feature["image/uri"].bytes_list.value[0]]


def _rows(path):
    return list(datasets.read_examples(path))


def test_the_page_has_a_picture_of_each_member(place):
    page = (place / "dups/index.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 7
    assert page.count('class="kept"') == 3 and "not there" not in page
    assert "160x120" in page and "96x72" in page
    assert "1 ö\\n#%" in page


def test_once_more_it_says_so_and_other_options_are_refused(place, capsys):
    arguments = ["dedup", str(place / "out"), str(place / "dups")]
    before = {name: (place / "dups" / name).read_bytes() for name in datasets.files(place / "dups")}
    assert cli.main(arguments) == 0
    assert "is committed already" in capsys.readouterr().out
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == _record(place / "dups")
    assert cli.main([*arguments, "--threshold=0.9"]) == 2
    assert "with other options; name another directory" in capsys.readouterr().err
    assert {name: (place / "dups" / name).read_bytes() for name in before} == before


@pytest.mark.engines
def test_the_page_opens_in_a_browser(place, browse, tmp_path):
    page = place / "dups/index.html"
    dom = browse(page, "--dump-dom").stdout
    assert dom.count('<img src="data:image/jpeg') == 7
    picture = tmp_path / "page.png"
    browse(page, f"--screenshot={picture}", "--window-size=1200,700")
    pixels = np.asarray(Image.open(picture).convert("RGB"))[300:600, 100:500].reshape(-1, 3)
    assert len(np.unique(pixels // 16, axis=0)) > 100
