"""The rows of .tar files: images, with the columns that lie beside them."""

import hashlib
import json
import pathlib
import tarfile

import pytest

from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.rows import UNREADABLE
from image_features.transforms.manifests.samples import MAX_SIDECAR
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageError, ImageRef, Reason
from tests.datasets import counts, extract, lines, read_examples, vectors
from tests.images import encode, noise
from tests.transforms.archives.tars import contents, listed, names, pack


def _values(path: pathlib.Path) -> list[tuple[str, dict[str, object]]]:
    rows = listed(path)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    return [(name, row.values) for name, row in zip(names(rows), rows, strict=True)]


def test_what_webdataset_writes_and_reads(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    pictures = [noise(seed) for seed in range(5)]
    pattern = f"file:{tmp_path}/%06d.tar"
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as shards:
        for number, picture in enumerate(pictures):
            sample = {"__key__": f"s/{number:04}", "png": picture, "cls": number, "txt": "ein Bär"}
            shards.write(
                sample | {"json": {"label": f"l{number}", "box": [1.5, 2.5], "at": {"x": 1}}}
            )
    files = sorted(tmp_path.glob("*.tar"))
    assert len(files) == 2
    found = {name: data for path in files for name, data in contents(path).items()}
    dataset = webdataset.WebDataset([str(path) for path in files], shardshuffle=False)
    assert found == {f"{sample['__key__']}.png": sample["png"] for sample in dataset}
    rows = [row for path in files for row in _values(path)]
    assert rows[4] == (
        "s/0004.png",
        {"cls": 4, "txt": "ein Bär", "label": "l4", "box": [1.5, 2.5], "at": '{"x": 1}'},
    )


def test_compressed_shards_of_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "x.tar.gz")) as shard:
        shard.write({"__key__": "a", "left.jpg": b"1", "right.jpg": b"2", "json": {"n": 7}})
    assert contents(tmp_path / "x.tar.gz") == {"a.left.jpg": b"1", "a.right.jpg": b"2"}
    assert _values(tmp_path / "x.tar.gz") == [("a.left.jpg", {"n": 7}), ("a.right.jpg", {"n": 7})]
    assert names(listed(tmp_path / "x.tar.gz", "left.jpg")) == ["a.left.jpg"]


def _img2dataset(directory: pathlib.Path, shard: int) -> pathlib.Path:
    """Writes what img2dataset does into a shard, two images of three that were asked for."""
    directory.mkdir(exist_ok=True)
    members = []
    for number in (0, 2):
        key = f"{shard:05}{number:04}"
        data = encode(noise(number))
        meta = {
            "caption": f"picture {number}",
            "url": f"https://example.com/{number}.jpg",
            "key": key,
            "status": "success",
            "error_message": None,
            "width": 64,
            "height": 48,
            "original_width": 64,
            "original_height": 48,
            "exif": "{}",
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        members += [(f"{key}.jpg", data), (f"{key}.json", json.dumps(meta, indent=4).encode())]
        members += [(f"{key}.txt", meta["caption"].encode())]
    (directory / f"{shard:05}_stats.json").write_text('{"count": 3, "successes": 2}')
    return pack(directory / f"{shard:05}.tar", members)


def test_the_layout_of_img2dataset(tmp_path):
    _img2dataset(tmp_path / "out", 0)
    _img2dataset(tmp_path / "out", 1)
    sources = find_sources([str(tmp_path / "out")])
    spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
    rows = list(read_all(spec))
    assert len(rows) == 4 and all(isinstance(row, ImageRef) for row in rows)
    assert sorted(row.uri.rsplit("/")[-1] for row in rows)[1] == "000000002.jpg"
    columns = dict(rows[0].columns)
    assert columns["txt"] == columns["caption"] and columns["error_message"] is None
    assert columns["width"] == 64 and columns["url"].startswith("https://example.com/")


@pytest.mark.parametrize("order", [1, -1])
def test_what_lies_before_or_behind_an_image_belongs_to_it(tmp_path, order):
    sample = [("d/a.jpg", b"1"), ("d/a.cls", b"007\n"), ("d/a.json", b'{"s": "x"}')]
    path = pack(tmp_path / "x.tar", [("d/b.jpg", b"2"), *sample[::order], ("e/a.txt", b"no")])
    assert _values(path) == [("d/b.jpg", {}), ("d/a.jpg", {"cls": 7, "s": "x"})]


def test_the_first_dot_of_a_files_name_ends_a_sample(tmp_path):
    members = {"v1.0/a.seg.png": b"1", "v1.0/a.TXT": b"a", "v1.0/ab.jpg": b"2", ".b.jpg": b"3"}
    assert _values(pack(tmp_path / "x.tar", members)) == [
        ("v1.0/a.seg.png", {"txt": "a"}),
        ("v1.0/ab.jpg", {}),
        (".b.jpg", {}),
    ]


def test_which_members_are_images(tmp_path):
    path = pack(
        tmp_path / "x.tar", dict.fromkeys(["a.JPG", "a.b.png", "a.bin", "a", "b.x.y"], b"x")
    )
    assert names(listed(path)) == ["a.JPG", "a.b.png"]
    assert names(listed(path, "bin,.X.Y")) == ["a.bin", "b.x.y"]
    assert names(listed(path, "png,b.png")) == ["a.b.png"]
    assert names(listed(path, "g")) == []


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.json", b"{", "a.json: it is not JSON"),
        ("a.json", b"[" * 100_000, "a.json: it is not JSON"),
        ("a.json", b"[1]", "a.json: it is not a JSON object"),
        ("a.json", b'{"a": 1, "a": 2}', "a.json: it names 'a' twice"),
        ("a.json", b'{"a": 1e400}', "a.json: it is not JSON"),
        ("a.json", b'{"a": "\\ud800"}', "not string"),
        ("a.json", b"\xff", "a.json: it is not UTF-8"),
        ("a.json", b'"' + b"x" * MAX_SIDECAR + b'"', "is larger than 1048576 bytes"),
        ("a.txt", b"\xff", "a.txt: it is not UTF-8"),
        ("a.txt", b"x" * (MAX_SIDECAR + 1), "is larger than 1048576 bytes"),
        ("a.cls", b"\xff", "a.cls: it is not UTF-8"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_bad_sidecar_costs_the_rows_of_its_sample(tmp_path, name, data, problem, order):
    sample = [("a.jpg", b"1"), ("a.png", b"2"), (name, data)][::order]
    good = [("b.jpg", b"1"), ("b.json", b'{"a": "x"}'), ("b.txt", b"x"), ("b.cls", b"x")]
    path = pack(tmp_path / "x.tar", [*good, *sample, ("c.jpg", b"3")])
    sources = find_sources([str(path)])
    spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
    first, *bad, last = read_all(spec)
    assert isinstance(first, ImageRef) and isinstance(last, ImageRef) and len(bad) == 2
    for row in bad:
        assert isinstance(row, ImageError) and row.reason is Reason.BAD_MANIFEST_ROW
        assert problem in row.message and row.ref.uri.startswith(f"{path}!/a.")
        assert not row.unread and len(row.message) < 500


def test_what_a_bad_sidecar_has_spoiled_stays_an_error_when_it_is_tried_again(tmp_path):
    path = tmp_path / "errors-00000-of-00001.jsonl"
    values = {"json": UNREADABLE, "stage": "read_manifest"}
    path.write_text(json.dumps({"uri": f"{tmp_path}/x.tar!/a.jpg", **values}))
    spec = examine(find_sources([str(path)]), uri_column=None, declared={}, http=HttpPolicy()).spec
    assert not spec.columns
    (row,) = read_all(spec)
    assert isinstance(row, ImageError) and row.ref.uri.endswith("x.tar!/a.jpg")


def test_two_sidecars_may_tell_the_same_and_not_two_things(tmp_path):
    members = {"a.jpg": b"", "a.txt": b"x", "a.json": b'{"txt": "x"}'}
    assert _values(pack(tmp_path / "x.tar", members)) == [("a.jpg", {"txt": "x"})]
    (row,) = listed(pack(tmp_path / "x.tar", members | {"a.txt": b"y"}))
    assert row.problem == "a.json: two members beside the image have the column 'txt'"
    assert row.values == {"txt": UNREADABLE, "json": UNREADABLE}


def test_what_lies_beside_images_is_bounded(tmp_path):
    members = [(f"a.{n}.jpg", b"") for n in range(1500)]
    members[:0] = [("a.txt", b"t"), ("a.json", b'{"x": "%s"}' % (b"x" * 600_000))]
    members.append(("a.json", b'{"y": "%s"}' % (b"x" * 600_000)))
    rows = listed(pack(tmp_path / "x.tar", members))
    assert len(rows) == 1500 and all(row.values["txt"] == "t" for row in rows)
    assert "is larger than" in rows[-1].problem


def test_samples_without_an_image_give_no_row(tmp_path, caplog):
    members = {"a.txt": b"x", "a.json": b"{", "b.jpg": b"", "README": b"", "c.mp4": b""}
    with caplog.at_level("INFO", "image_features"):
        assert _values(pack(tmp_path / "x.tar", members)) == [("b.jpg", {})]
    assert '"without_image": 3' in "".join(caplog.messages)


def test_names_that_are_not_utf8_are_bad_rows(tmp_path):
    path = pack(tmp_path / "x.tar", {"a\udcff.jpg": b"1", "b.jpg": b"2", "c\udcff.txt": b"3"})
    sources = find_sources([str(path)])
    spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
    bad, good = read_all(spec)
    assert isinstance(bad, ImageError) and "not UTF-8" in bad.message and bad.unread
    assert isinstance(good, ImageRef)


def test_features_are_those_of_loose_files(tmp_path):
    loose = tmp_path / "loose"
    loose.mkdir()
    data = {f"{n}.{f.lower()}": encode(noise(n), f) for n, f in enumerate(["JPEG", "PNG"] * 3)}
    data |= {"bad.jpg": b"no image", "empty.jpg": b""}
    for name, content in data.items():
        (loose / name).write_bytes(content)
    members = [item for n, d in data.items() for item in ((n, d), (n.split(".")[0] + ".cls", b"7"))]
    archives = {
        "x": pack(tmp_path / "x.tar", members),
        "z": pack(tmp_path / "z.tgz", members, "w:gz", format=tarfile.GNU_FORMAT),
    }
    half = tmp_path / "half.tar"
    with tarfile.open(archives["x"]) as tar:
        half.write_bytes(archives["x"].read_bytes()[: tar.getmember("4.jpeg").offset_data + 5])
    inputs = [f"--input={path}" for path in (*archives.values(), half)]
    run = extract(loose, tmp_path / "out", "r", *inputs, "--num_shards=2", "--max_error_rate=1")
    found = vectors(tmp_path / "out")
    good = [name for name in data if name[0].isdigit()]
    assert set(found) == {
        *(f"{loose}/{name}" for name in good),
        *(f"{path}!/{name}" for path in archives.values() for name in good),
        *(f"{half}!/{name}" for name in good[:4]),
    }
    for uri, vector in found.items():
        assert vector == found[f"{loose}/{uri.rpartition('/')[2]}"]
    assert len({found[f"{loose}/{name}"] for name in good}) == len(good)
    errors = lines(run, "errors")
    assert counts(run)[:3] == (8 * 3 + 5, 6 * 3 + 4, 7)
    (damage,) = [error for error in errors if error["reason"] == Reason.CORRUPT_ARCHIVE]
    assert damage["uri"] == str(half) and "is cut short at byte" in damage["message"]
    reasons = sorted(error["reason"] for error in errors)
    assert reasons == ["corrupt_archive", *["empty_file"] * 3, *["not_an_image"] * 3]
    labels = [
        row.features.feature["cls"].int64_list.value for row in read_examples(tmp_path / "out")
    ]
    assert sorted(map(len, labels)) == [0] * 6 + [1] * 16 and {v[0] for v in labels if v} == {7}
