"""Rows of TFRecord files: which feature holds the images, and what columns the others make."""

import dataclasses
import json
import struct

import pytest

from image_features.pipeline.dataset import reading
from image_features.transforms.archives.archive import read_members
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.store import ArchiveStore
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.manifests.columns import Column, Kind, conform
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.sources import Source, find_sources, list_images
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import ImageError, Reason
from tests import datasets, images
from tests.gcs import emulator
from tests.transforms.archives.examples import (
    BYTES,
    FLOATS,
    INTEGERS,
    entry,
    example,
    field,
    of_bytes,
    of_ints,
    picture,
    rows_of,
    varint,
    with_image,
    write,
)

_JPEG = b"\xff\xd8\xff\xe0"


def _sources(*paths, listed=False):
    return [Source(str(path), ManifestFormat.TFRECORD, listed=listed) for path in paths]


def _examined(*paths, declared=None):
    sources = _sources(*paths)
    return examine(sources, uri_column=None, declared=declared or {}, http=HttpPolicy()).spec


def _read(path, number, **options):
    with open_ranged(str(path), http=HttpPolicy()) as file:
        (taken,) = read_members(
            file,
            ArchiveFormat.TFRECORD,
            [Wanted(f"row/{number}", None)],
            max_bytes=2**20,
            options=ArchiveOptions(**options),
        )
    return taken.data


def test_values_come_however_they_are_spelled(tmp_path):
    floats = struct.pack("<3f", 0.5, -1.5, 2.5)
    ints = b"".join(map(varint, (7, -8, 2**63 - 1, -(2**63))))
    parts = field(1, floats[:4]) + field(1, floats[4:8], 5) + field(1, floats[8:])
    single = b"".join(field(1, varint(n), 0) for n in (7, -8))
    path = write(
        tmp_path / "a.tfrecord",
        [
            example(
                entry("packed", INTEGERS, field(1, ints)),
                entry("apart", INTEGERS, single),
                entry("both", INTEGERS, single + field(1, varint(9))),
                entry("floats", FLOATS, field(1, floats)),
                entry(
                    "floats_apart", FLOATS, b"".join(field(1, floats[i : i + 4], 5) for i in (0, 4))
                ),
                entry("floats_in_parts", FLOATS, parts),
                of_ints("twice", 1),
                entry("nothing", 0, b""),
                entry("empty", BYTES, b""),
                of_bytes("text", "é".encode(), b""),
                of_bytes("image", picture(0)),
                field(1, field(2, field(INTEGERS, field(1, varint(3)))) + field(1, b"value_first")),
                field(1, field(1, b"key_only")),
                field(9, b"unknown"),
                of_ints("twice", 2),
            )
            + field(7, b"unknown")
            + field(15, varint(5), 0)
        ],
    )
    (row,) = rows_of(path)
    assert not row.problem
    assert row.values == {
        "packed": [7, -8, 2**63 - 1, -(2**63)],
        "apart": [7, -8],
        "both": [7, -8, 9],
        "floats": [0.5, -1.5, 2.5],
        "floats_apart": [0.5, -1.5],
        "floats_in_parts": [0.5, -1.5, 2.5],
        "twice": 2,
        "nothing": None,
        "empty": None,
        "text": ["é".encode(), b""],
        "value_first": 3,
        "key_only": None,
    }
    assert _read(path, 0) == picture(0)


def test_tensorflow_agrees_on_what_was_spelled(tmp_path):
    from tensorflow.core.example import example_pb2

    features = {"a": [3, -4], "b": [0.25], "c": [b"x", b"\xff"]}
    message = example_pb2.Example()
    message.features.feature["a"].int64_list.value.extend(features["a"])
    message.features.feature["b"].float_list.value.extend(features["b"])
    message.features.feature["c"].bytes_list.value.extend(features["c"])
    message.features.feature["jpg"].bytes_list.value.append(picture(0))
    path = write(tmp_path / "a.tfrecord", [message.SerializeToString()])
    (row,) = rows_of(path)
    assert row.values == {"a": [3, -4], "b": 0.25, "c": [b"x", b"\xff"]}


@pytest.mark.parametrize(
    ("names", "told", "found"),
    [
        (["image/encoded", "image", "thumb"], "", "image/encoded"),
        (["image"], "", "image"),
        (["image_raw"], "", "image_raw"),
        (["jpg"], "", "jpg"),
        (["png", "thumb"], "", "png"),
        (["image", "thumb"], "thumb", "thumb"),
        (["image", "jpg"], "jpg", "jpg"),
    ],
)
def test_the_feature_is_found_by_its_name_and_content(tmp_path, names, told, found):
    entries = [of_bytes(name, _JPEG + name.encode()) for name in names]
    pixels = of_bytes("img", bytes(300))
    path = write(tmp_path / "a.tfrecord", [example(pixels, *entries)])
    (row,) = rows_of(path, options=ArchiveOptions(feature=told))
    assert not row.problem
    assert _read(path, 0, feature=told) == _JPEG + found.encode()


@pytest.mark.parametrize(
    ("entries", "told", "message"),
    [
        (
            [of_bytes("image", _JPEG), of_bytes("jpg", _JPEG)],
            "",
            "has images in the features 'image', 'jpg': name the one to read by --image_feature.",
        ),
        (
            [of_bytes("portrait", _JPEG), of_bytes("text", b"x")],
            "",
            "has images in the feature 'portrait': name the one to read by --image_feature.",
        ),
        (
            [of_bytes("image_raw", bytes(99)), of_ints("label", 1)],
            "",
            "has no feature that holds encoded images in its first examples (those of bytes are "
            "'image_raw'): name the right one by --image_feature, or encode the images, as to PNG.",
        ),
        ([of_ints("label", 1)], "", "(none is of bytes)"),
        ([of_bytes("image", _JPEG)], "img", "has no feature 'img' in its first examples"),
    ],
)
def test_a_feature_that_is_not_clear_is_told(tmp_path, entries, told, message):
    path = write(tmp_path / "a.tfrecord", [example(*entries)])
    options = ArchiveOptions(feature=told)
    with pytest.raises(FetchError) as error:
        rows_of(path, options=options)
    assert str(error.value).startswith(f"{path} has ")
    assert message in str(error.value)
    with pytest.raises(FetchError, match="name the"):
        _read(path, 0, feature=told)


def test_a_listing_passes_over_what_holds_no_images(tmp_path):
    features = entry("image/features", FLOATS, field(1, bytes(8)))
    own = write(tmp_path / "features-00000-of-00001.tfrecord", [example(features)] * 3)
    other = write(tmp_path / "other.tfrecord", [b"\x07something else"])
    labels = write(tmp_path / "labels.tfrecord", [example(of_ints("label", 1))])
    for path in (own, other, labels):
        assert rows_of(path, listed=True) == []
        with pytest.raises(FetchError):
            rows_of(path)
    # An image that has no usual name is not passed over in silence.
    odd = write(tmp_path / "odd.tfrecord", [example(of_bytes("portrait", _JPEG))])
    with pytest.raises(FetchError, match="'portrait'"):
        rows_of(odd, listed=True)


def test_bad_records_are_bad_rows(tmp_path):
    steps = field(2, field(1, b"x"))
    bad = [
        with_image(0),
        b"\x0a\xffnot a message",
        with_image(0) + steps,
        example(of_bytes("image/encoded", _JPEG, _JPEG)),
        example(of_ints("image/encoded", 1, 2)),
        example(field(1, field(1, b"\xff\xfe") + field(2, b""))),
        example(of_ints("label", 1)),
        with_image(7),
    ]
    path = write(tmp_path / "a.tfrecord", bad)
    problems = {
        1: "the record is no tf.train.Example",
        2: "the record is a tf.train.SequenceExample, which is not read",
        3: "the feature 'image/encoded' holds 2 values, not one image",
        4: "the feature 'image/encoded' holds numbers, not an encoded image",
        5: "the record is no tf.train.Example",
    }
    rows = rows_of(path)
    assert {i: row.problem for i, row in enumerate(rows) if row.problem} == problems
    assert {row.reason for row in rows if row.problem} == {Reason.BAD_MANIFEST_ROW}
    for number, problem in problems.items():
        failure = _read(path, number)
        assert isinstance(failure, FetchError)
        assert failure.message == f"{path}!/row/{number}: {problem}."
    assert _read(path, 6) == b""
    assert _read(path, 7) == picture(7)
    only = write(tmp_path / "b.tfrecord", [steps])
    with pytest.raises(FetchError, match="SequenceExample, which is not read"):
        rows_of(only)


def test_the_images_are_found_behind_examples_without_one(tmp_path):
    records = [b"\x07no", example(of_bytes("image", b"")), with_image(2, name="image")]
    path = write(tmp_path / "a.tfrecord", records)
    rows = rows_of(path)
    assert [row.problem for row in rows] == ["the record is no tf.train.Example", "", ""]
    assert [_read(path, 1), _read(path, 2)] == [b"", picture(2)]
    damaged = bytearray(path.read_bytes())
    damaged[12] ^= 1
    path.write_bytes(damaged)
    assert [row.reason for row in rows_of(path, listed=True) if row.problem] == [
        Reason.CORRUPT_ARCHIVE
    ]


def test_lists_and_text_are_told_by_all_files(tmp_path):
    one = write(
        tmp_path / "a.tfrecord",
        [with_image(0, of_ints("tags", 4), of_bytes("hash", b"ab"), of_bytes("text", b"t"))],
    )
    two = write(
        tmp_path / "b.tfrecord",
        [
            with_image(1, of_ints("tags", 5, 6), of_bytes("hash", b"\xff"), of_bytes("text")),
            with_image(2, of_ints("tags"), of_bytes("hash", b"c"), of_bytes("text", b"u")),
        ],
    )
    three = write(tmp_path / "c.tfrecord", [with_image(3, of_ints("tags"), of_bytes("text", b"v"))])
    spec = _examined(one, two, three)
    assert {column.name: str(column) for column in spec.columns} == {
        "hash": "bytes?",
        "tags": "int64[]?",
        "text": "string?",
    }
    found = [dict(row.columns) for row in read_all(spec)]
    assert found == [
        {"hash": b"ab", "tags": [4], "text": "t"},
        {"hash": b"\xff", "tags": [5, 6], "text": None},
        {"hash": b"c", "tags": None, "text": "u"},
        {"hash": None, "tags": None, "text": "v"},
    ]


def test_later_values_that_do_not_fit_are_bad_rows(tmp_path):
    records = [with_image(i, of_ints("tag", i), of_bytes("text", b"t")) for i in range(120)]
    records[110] = with_image(110, of_ints("tag", 1, 2), of_bytes("text", b"t"))
    records[111] = with_image(111, of_ints("tag", 1), of_bytes("text", b"\xff"))
    records[112] = with_image(112, of_ints("new", 1))
    path = write(tmp_path / "a.tfrecord", records)
    bad = {row.ref.row - 1: row for row in read_all(_examined(path)) if isinstance(row, ImageError)}
    assert sorted(bad) == [110, 111, 112]
    assert {row.reason for row in bad.values()} == {Reason.BAD_MANIFEST_ROW}
    assert "holds a list, not one int64" in bad[110].message
    declared = {
        "tag": Column("tag", Kind.INT64, True, True),
        "text": Column("text", Kind.BYTES, False, True),
        "new": Column("new", Kind.INT64, False, True),
    }
    refs = list(read_all(_examined(path, declared=declared)))
    assert not any(isinstance(row, ImageError) for row in refs)
    assert dict(refs[110].columns) == {"tag": [1, 2], "text": b"t", "new": None}


def test_names_that_records_keep_are_put_aside(tmp_path):
    record = with_image(
        0,
        of_ints("image/height", 4),
        of_ints("label", 1),
        of_bytes("label/text", b"cat"),
        of_ints("objects/id", 3),
        of_ints("a//b", 5),
        of_ints("image", 6),
    )
    (row,) = rows_of(write(tmp_path / "a.tfrecord", [record]))
    assert row.values == {
        "example/image/height": 4,
        "label": 1,
        "example/label/text": b"cat",
        "objects/id": 3,
        "a/_/b": 5,
        "example/image": 6,
    }
    assert conform({"label": 1}, {"label": Column("label", Kind.INT64)}) == (("label", 1),)


def _describe(directory, **features):
    core = "tensorflow_datasets.core.features."

    def node(kind, **content):
        return {"pythonClassName": f"{core}{kind}", **content}

    def picture_of(dtype="uint8"):
        return node("image_feature.Image", image={"dtype": dtype, "encodingFormat": "jpeg"})

    made = {
        "image": picture_of(),
        "floats": picture_of("float32"),
        "frames": node("sequence_feature.Sequence", sequence={"feature": picture_of()}),
        "video": node("video_feature.Video", video={}),
        "mask": node("labeled_image.LabeledImage", image={}),
    }
    tree = {"features": {name: made[kind] for name, kind in features.items()}}
    root = node("features_dict.FeaturesDict", featuresDict=tree)
    (directory / "features.json").write_text(json.dumps(root))


@pytest.mark.parametrize(
    ("described", "found"),
    [
        ({"shot": "image", "image": "mask"}, "shot"),
        ({"image": "floats"}, "'image' is an image of float32, which is not read"),
        ({"image": "frames"}, "'image' is a list of images, which is not read"),
        ({"image": "video"}, "'image' is a video, which is not read"),
        ({"shot": "image", "image": "image"}, "has images in the features 'shot', 'image'"),
        ({"label": "mask"}, "image"),
    ],
)
def test_the_description_of_tfds_tells_the_feature(tmp_path, described, found):
    _describe(tmp_path, **described)
    names = ["image", "shot"] if "shot" in described else ["image"]
    path = write(
        tmp_path / "my-train.tfrecord-00000-of-00001",
        [example(*(of_bytes(name, _JPEG + name.encode()) for name in names))],
    )
    if found in names:
        assert len(rows_of(path, listed=True)) == 1
        assert _read(path, 0) == _JPEG + found.encode()
    else:
        with pytest.raises(FetchError, match=found):
            rows_of(path, listed=True)


def test_a_description_on_gs_is_found(tmp_path):
    _describe(tmp_path, shot="image", image="mask")
    records = [example(of_bytes("image", _JPEG), of_bytes("shot", picture(1)))]
    data = write(tmp_path / "a.tfrecord", records).read_bytes()
    with pytest.MonkeyPatch.context() as patch, emulator(patch, "tfds") as bucket:
        for directory in ("with", "without"):
            bucket.blob(f"{directory}/a.tfrecord").upload_from_string(data)
        bucket.blob("with/features.json").upload_from_string(
            (tmp_path / "features.json").read_bytes()
        )
        for directory, found in (("with", picture(1)), ("without", _JPEG)):
            location = f"gs://tfds/{directory}"
            listing = Source(location, None)
            spec = examine([listing], uri_column=None, declared={}, http=HttpPolicy()).spec
            (row,) = read_all(spec)
            assert row.uri == f"{location}/a.tfrecord!/row/0"
            assert _read(f"{location}/a.tfrecord", 0) == found


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"pythonClassName": 3}', "\xff", "[" * 9999])
def test_a_features_json_of_another_purpose_tells_nothing(tmp_path, text):
    (tmp_path / "features.json").write_text(text, "latin-1")
    assert len(rows_of(write(tmp_path / "a.tfrecord", [with_image(0)]))) == 1


def _tfds(directory, paths, encoding):
    """Makes a data set of picture files by TFDS; returns its directory."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "photo": {"shot": tfds.features.Image(encoding_format=encoding)},
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "caption": tfds.features.Text(),
            "boxes": tfds.features.Sequence({"box": tfds.features.BBoxFeature()}),
        }
    )
    box = {"box": tfds.features.BBox(0.0, 0.0, 0.5, 1.0)}
    rows = [
        (i, {"photo": {"shot": str(p)}, "label": i % 2, "caption": f"ö{i}", "boxes": [box] * i})
        for i, p in enumerate(paths)
    ]
    tfds.dataset_builders.AdhocBuilder(
        name="my",
        version="1.0.0",
        features=features,
        split_datasets={"train": rows},
        data_dir=directory,
        file_format="tfrecord",
    ).download_and_prepare()
    return directory / "my" / "1.0.0"


def test_array_records_are_told_to_be_unread(tmp_path):
    path = tmp_path / "my-train.array_record-00000-of-00001"
    path.write_bytes(b"x")
    for location in (path, tmp_path, tmp_path / "my-*"):
        with pytest.raises(ValueError, match="holds ArrayRecord files, which are not read"):
            sources = find_sources([str(location)])
            examine(sources, uri_column=None, declared={}, http=HttpPolicy())
    images.write(tmp_path / "a.jpg", 1)
    (listing,) = find_sources([str(tmp_path)])
    assert [path for path, _ in list_images(listing)] == [str(tmp_path / "a.jpg")]
    spec = examine([listing], uri_column=None, declared={}, http=HttpPolicy()).spec
    assert len(list(read_all(spec))) == 1


def test_a_directory_whose_images_are_not_clear_ends_a_launch(tmp_path):
    write(tmp_path / "a.tfrecord", [example(of_bytes("image", _JPEG), of_bytes("jpg", _JPEG))])
    with pytest.raises(FetchError, match="'image', 'jpg'"):
        examine([Source(str(tmp_path), None)], uri_column=None, declared={}, http=HttpPolicy())


def test_records_are_found_whatever_their_file_is_called(tmp_path):
    records = [with_image(i) for i in range(3)]
    one = write(tmp_path / "train-00000-of-01024", records)
    two = write(tmp_path / "train.record-00001-of-01024", records)
    assert find_sources([str(two)]) == _sources(two)
    (source,) = find_sources([str(one)], ManifestFormat.TFRECORD)
    refs = list(read_all(examine([source], uri_column=None, declared={}, http=HttpPolicy()).spec))
    for place in (refs[1].place, None):
        image = Fetcher(FetchPolicy()).fetch(dataclasses.replace(refs[1], place=place))
        assert image.data == picture(1)
    with pytest.raises(ValueError, match="cannot be read as zip, since its name does not say so"):
        find_sources([str(one)], ManifestFormat.ZIP)
    with pytest.raises(ValueError, match="give it a name that ends in "):
        find_sources([str(two)], ManifestFormat.TAR)


def _pictures(directory, format, count=6):
    directory.mkdir()
    paths = [directory / f"{i}.{format.lower()}" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(images.encode(images.noise(i), format))
    return paths


@pytest.mark.parametrize(("encoding", "format"), [("jpeg", "JPEG"), ("png", "PNG"), (None, "PNG")])
def test_a_directory_of_tfds_has_the_rows_that_tfds_reads(tmp_path, encoding, format):
    import tensorflow_datasets as tfds

    directory = _tfds(tmp_path / "tfds", _pictures(tmp_path / "loose", format), encoding)
    decoders = {"photo": {"shot": tfds.decode.SkipDecoding()}}
    builder = tfds.builder_from_directory(directory)
    theirs = list(tfds.as_numpy(builder.as_dataset(split="train", decoders=decoders)))
    listing = Source(str(directory), None)
    spec = examine([listing], uri_column=None, declared={}, http=HttpPolicy()).spec
    rows = list(read_all(spec))
    assert len(rows) == len(theirs) == 6
    for number, (row, their) in enumerate(zip(rows, theirs, strict=True)):
        columns = dict(row.columns)
        assert columns["caption"] == their["caption"].decode()
        assert columns["label"] == their["label"]
        assert (columns["boxes/box"] or []) == their["boxes"]["box"].ravel().tolist()
        assert row.uri.endswith(f"/my-train.tfrecord-00000-of-00001!/row/{number}")
        assert _read(row.uri.partition("!/")[0], number) == their["photo"]["shot"]


def test_features_are_those_of_loose_files(tmp_path):
    paths = _pictures(tmp_path / "loose", "JPEG")
    directory = _tfds(tmp_path / "tfds", paths, "jpeg")
    out = tmp_path / "out"
    run = datasets.extract(directory, out, "r", f"--input={tmp_path / 'loose'}")
    assert datasets.counts(run)[:3] == (12, 12, 0)
    vectors = datasets.vectors(out)
    rows = reading.load_numpy(str(out))
    captions = dict(zip(rows.uris, rows.columns["caption"], strict=True))
    for uri, caption in captions.items():
        if caption:
            assert vectors[uri] == vectors[str(paths[int(caption[1:])])]
    assert sum(caption is not None for caption in captions.values()) == 6
    # What was written lies in TFRecord files too, beside a features.json, and holds no images.
    assert rows_of(run / "features-00000-of-00001.tfrecord", listed=True) == []


def test_the_version_tells_which_feature_an_image_is_of(tmp_path):
    """So that --incremental extracts again where --image_feature names another one."""
    record = example(of_bytes("left", picture(1)), of_bytes("right", picture(2)))
    path = write(tmp_path / "a.tfrecord", [record])
    versions = set()
    for feature in ("left", "right"):
        (row,) = rows_of(path, options=ArchiveOptions(feature=feature))
        store = ArchiveStore(HttpPolicy(), max_bytes=2**20, options=ArchiveOptions(feature=feature))
        ((_, content),) = store.read(str(path), [Wanted("row/0", row.place)])
        assert content.version == row.version
        versions.add(row.version)
    assert len(versions) == 2
