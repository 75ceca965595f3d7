import gzip
import json
import os

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from image_features.transforms.manifests import formats
from image_features.transforms.manifests.columns import Column, Kind, parse_column_types
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import ReadManifest, read_all, read_source
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageError, ImageRef, Reason
from image_features.transforms.write_rows import _error_line
from tests import archives


def read(path, *, uri_column=None, declared=None, quotes=None):
    sources = find_sources([str(path)])
    found = examine(
        sources,
        uri_column=uri_column,
        declared=declared or {},
        http=HttpPolicy(),
        quotes=quotes,
    )
    rows = [row for source in found.spec.sources for row in read_source(source, found.spec)]
    assert found.any_row == bool(rows)
    return found.spec, rows


def test_text_skips_blanks_and_comments_and_resolves_relative_uris(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\ufeffa.jpg\n\n# a comment\n  sub/b.jpg  \ngs://bucket/c.jpg\n/abs/d.jpg\n")
    _, rows = read(path)
    assert [(row.uri, row.row) for row in rows] == [
        (f"{tmp_path}/a.jpg", 1),
        (f"{tmp_path}/sub/b.jpg", 4),
        ("gs://bucket/c.jpg", 5),
        ("/abs/d.jpg", 6),
    ]


def test_a_line_that_is_not_utf8_is_one_error(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a.jpg\n\xff\xfe.jpg\nb.jpg\n")
    _, rows = read(path)
    assert [type(row) for row in rows] == [ImageRef, ImageError, ImageRef]
    assert rows[1].reason is Reason.BAD_MANIFEST_ROW


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv.gz", ",")])
def test_delimited_text(tmp_path, suffix, delimiter):
    path = tmp_path / f"m.{suffix}"
    text = 'label,url,note\n7,a.jpg,"two\nlines, one comma"\n8,b.jpg\n9,,x\n'.replace(
        ",", delimiter
    )
    opener = gzip.open if suffix.endswith("gz") else open
    with opener(path, "wt", newline="") as file:
        file.write(text)
    spec, rows = read(path, declared=parse_column_types("label:int64"), quotes=True)
    assert spec.schema["note"] == Column("note", Kind.STRING)
    assert rows[0].uri == f"{tmp_path}/a.jpg"
    assert rows[0].columns[0] == ("label", 7)
    assert [type(row) for row in rows[1:]] == [ImageError, ImageError]
    assert "2 fields" in rows[1].message
    assert "holds no URI" in rows[2].message


def test_jsonl_types_and_bad_rows(tmp_path):
    path = tmp_path / "m.jsonl"
    good = {"uri": "a.jpg", "n": 3, "tags": ["x", "y"], "nested": {"k": 1}}
    lines = [
        json.dumps(good),
        "",
        "{not json",
        "[1]",
        json.dumps({"n": 1}),
        json.dumps({**good, "n": "?"}),
    ]
    path.write_text("\n".join(lines))
    _, rows = read(path, declared=parse_column_types("n:int64"))
    assert dict(rows[0].columns) == {"n": 3, "tags": ["x", "y"], "nested": '{"k": 1}'}
    assert all(isinstance(row, ImageError) for row in rows[1:])
    assert len(rows) == 5


def test_parquet_keeps_its_schema(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table(
        {
            "image_url": ["a.jpg", "b.jpg"],
            "id": pa.array([1, 2], pa.int32()),
            "score": pa.array([0.5, None], pa.float64()),
            "raw": pa.array([b"\xff", b""], pa.binary()),
            "tags": pa.array([["x"], []], pa.list_(pa.string())),
            "flag": [True, False],
        }
    )
    pq.write_table(table, path)
    spec, rows = read(path)
    assert spec.columns == (
        Column("id", Kind.INT64),
        Column("score", Kind.FLOAT32, nullable=True),
        Column("raw", Kind.BYTES),
        Column("tags", Kind.STRING, repeated=True, nullable=spec.schema["tags"].nullable),
        Column("flag", Kind.BOOL),
    )
    assert dict(rows[1].columns) == {"id": 2, "score": None, "raw": b"", "tags": [], "flag": False}


def test_directories_and_globs_list_images(tmp_path):
    for name in ("a.jpg", "b.txt", "c.PNG"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.webp").write_bytes(b"x")
    assert {row.uri for row in read(tmp_path)[1]} == {
        f"{tmp_path}/{name}" for name in ("a.jpg", "c.PNG", "deep/d.webp")
    }
    assert {row.uri for row in read(tmp_path / "*.jpg")[1]} == {f"{tmp_path}/a.jpg"}


def test_a_name_that_is_not_utf8_is_one_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(b"x")
    rows = read(tmp_path)[1]
    (error,) = [row for row in rows if isinstance(row, ImageError)]
    assert error.reason is Reason.BAD_MANIFEST_ROW
    assert "is not UTF-8" in error.message
    assert error.ref.uri == f"{tmp_path}/\\udcff.jpg"
    assert len(rows) == 2


def test_a_bad_row_names_its_image_and_is_read_once(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "sub/a.jpg", "n": "many"}\n')
    sources = find_sources([str(path), str(tmp_path / "*.jsonl")])
    assert len(sources) == 1
    (row,) = read(path, declared=parse_column_types("n:int64"))[1]
    assert row.ref.uri == f"{tmp_path}/sub/a.jpg"


def test_declared_types_settle_what_manifests_disagree_on(tmp_path):
    for name, value in (("1", "[7]"), ("2", "5")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"uri": "{name}.jpg", "n": {value}}}\n')
    with pytest.raises(ValueError, match=r"'n' is int64\[\] in .*1.jsonl and int64 in .*settle it"):
        read(tmp_path / "*.jsonl")
    _, rows = read(tmp_path / "*.jsonl", declared=parse_column_types("n:int64"))
    assert [type(row) for row in rows] == [ImageError, ImageRef]


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_a_source_without_values_settles_no_type(tmp_path, names):
    for name, value in zip(names, ('{"n": null, "l": []}', '{"n": 5, "l": [2]}'), strict=True):
        line = json.dumps({"uri": f"{name}.jpg"} | json.loads(value))
        (tmp_path / f"{name}.jsonl").write_text(line + "\n")
    spec, rows = read(tmp_path / "*.jsonl")
    assert spec.schema["n"] == Column("n", Kind.INT64, nullable=True)
    assert spec.schema["l"] == Column("l", Kind.INT64, repeated=True)
    assert {row.columns[0] for row in rows} == {("n", None), ("n", 5)}


def test_a_glob_of_manifests(tmp_path):
    (tmp_path / "1.txt").write_text("a.jpg\n")
    (tmp_path / "2.txt").write_text("b.jpg\n")
    assert [row.uri for row in read(tmp_path / "*.txt")[1]] == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/b.jpg",
    ]


def test_a_csv_without_a_uri_column_is_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("id,where\n1,a.jpg\n")
    with pytest.raises(ValueError, match="--uri_column"):
        read(path)
    assert len(read(path, uri_column="where")[1]) == 1


def test_an_errors_shard_needs_no_options_and_keeps_its_columns(tmp_path):
    path = tmp_path / "errors-00000-of-00001.jsonl"
    fields = {"stage": "fetch", "reason": "timeout", "message": "m", "attempts": 4}
    row = {"uri": "/a.jpg", **fields, "column/uri": "mine", "column/stage": "s", "url": "u"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "uri": ""}) + "\n")
    for uri_column in (None, "url"):
        _, (good, bad) = read(path, uri_column=uri_column)
        assert good.uri == "/a.jpg"
        assert dict(good.columns) == {"uri": "mine", "stage": "s", "url": "u"}
        assert "'uri' holds no URI" in bad.message


def test_json_that_python_would_change_is_one_error(tmp_path):
    lines = [
        '{"uri": "a.jpg", "n": 1, "m": {"k": 1}, "l": ["x"]}',
        '{"uri": "b.jpg", "n": 1, "n": 2}',
        '{"uri": "c.jpg", "n": 1, "m": {"k": 1, "k": 2}}',
        '{"uri": "d.jpg", "uri": "e.jpg", "n": 1}',
        '{"uri": "f.jpg", "n": 1e400}',
        '{"uri": "g.jpg", "n": 1, "l": ["x", null]}',
        '{"uri": "h.jpg", "n": 1, "\\ud800": 1}',
        '{"uri": "i.jpg", "n": 1, "l": [{"base64": "eA=="}]}',
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines) + "\n")
    declared = parse_column_types("n:int64?,m:string?,l:string[]")
    _, rows = read(path, declared=declared)
    assert [type(row) for row in rows] == [ImageRef] + [ImageError] * 6 + [ImageRef]
    for row, words in zip(
        rows[1:],
        ("'n' twice", "'k' twice", "'uri' twice", "1e400 is too large", "null", "not UTF-8"),
        strict=False,
    ):
        assert words in row.message
    # What would go on without the image being named would count it as removed.
    named = [row.ref.uri.removeprefix(f"{tmp_path}/") for row in rows[1:7]]
    assert named == ["b.jpg", "c.jpg", "", "", "g.jpg", "h.jpg"]
    assert dict(rows[7].columns)["l"] == ["x"]

    # When it is tried again it fails again, and is not settled by one of the two values.
    shard = tmp_path / "errors-00000-of-00001.jsonl"
    failed = [row for row in rows if isinstance(row, ImageError)]
    shard.write_text("".join(_error_line(row, True)[2].decode() for row in failed))
    _, again = read(shard, declared=declared)
    assert [type(row) for row in again] == [ImageError] * 6


@pytest.mark.parametrize("name", ["m.txt", "m.csv", "m.jsonl"])
def test_a_uri_that_is_too_long_is_a_short_error(tmp_path, name):
    long = f"https://u:pw@h.example/?token={'s' * 500_000}"
    uris = ["x/" * 4090 + "a.jpg", long, "b.jpg"]
    if name == "m.jsonl":
        text = "\n".join(json.dumps({"uri": uri}) for uri in uris)
    else:
        text = "\n".join(["uri"] * (name == "m.csv") + uris)
    (tmp_path / name).write_text(text)
    first, bad, last = read(tmp_path / name)[1]
    assert (first.uri, last.uri) == (f"{tmp_path}/{uris[0]}", f"{tmp_path}/b.jpg")
    assert (bad.reason, bad.unread) == (Reason.URI_TOO_LONG, False)
    # What is left of it names nothing that could be fetched in its place.
    assert bad.ref.uri == "(longer than 8192) https://REDACTED@h.example/?token=REDACTED"
    assert "token=REDACTED" in bad.message
    assert len(bad.message) < 500


def test_uris_that_no_file_can_have_are_errors(tmp_path):
    path = tmp_path / "m.jsonl"
    twice = '{"uri": "a.jpg", "uri": "b.jpg"}'
    path.write_text(
        f'{{"uri": "a\\ud800.jpg"}}\n{{"uri": "b\\u0000.jpg"}}\n{twice}\n{{"uri": "c.jpg"}}'
    )
    surrogate, zero, ambiguous, good = read(path)[1]
    assert ambiguous.unread
    assert "is not UTF-8" in surrogate.message
    assert surrogate.unread
    assert "zero byte" in zero.message
    assert good.uri == f"{tmp_path}/c.jpg"
    surrogate.message.encode()


def test_a_bad_row_of_csv_names_its_image_where_it_is_plain(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('uri,n\na.jpg,"1\nb.jpg,2,3\nc.jpg,4\n')
    named, unnamed, good = read(path)[1]
    assert (named.ref.uri, named.ref.row, named.unread) == (f"{tmp_path}/a.jpg", 2, False)
    assert (unnamed.ref.uri, unnamed.ref.row, unnamed.unread) == ("", 3, True)
    assert (good.uri, good.row) == (f"{tmp_path}/c.jpg", 4)


def test_large_rows_are_not_all_held_for_the_types(tmp_path, monkeypatch):
    monkeypatch.setattr("image_features.transforms.manifests.heads._SAMPLE_BYTES", 1000)
    path = tmp_path / "m.csv"
    path.write_text("uri,n\n" + f"a.jpg,{'x' * 400}\n" * 2 + f"b.jpg,{'y' * 400},z\n" * 1000)
    spec, rows = read(path)
    assert len(rows) == 1002
    assert list(spec.schema) == ["n"]


def test_an_archive_is_read_once_however_it_is_named(tmp_path):
    """By itself, by a listing, and by two rows of a manifest whose columns its images get."""
    data = archives.tar({"a.jpg": b"1", "b.jpg": b"2"})
    for name in ("given.tar", "listed.tar", "named.tar"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "cut.tar").write_bytes(data[:700])
    rows = ["named.tar,x", "./named.tar,y", "listed.tar,z", "given.tar,w", "cut.tar,v"]
    (tmp_path / "m.csv").write_text("uri,label\n" + "\n".join(rows))
    inputs = [str(tmp_path / name) for name in ("m.csv", "given.tar", "*.t?r")]
    spec = examine(find_sources(inputs), uri_column=None, declared={}, http=HttpPolicy()).spec
    expected = {
        "given.tar!/a.jpg": "w",
        "given.tar!/b.jpg": "w",
        "listed.tar!/a.jpg": "z",
        "listed.tar!/b.jpg": "z",
        "named.tar!/a.jpg": "x",
        "named.tar!/b.jpg": "x",
    }

    def check(refs):
        found = {ref.uri.removeprefix(f"{tmp_path}/"): dict(ref.columns)["label"] for ref in refs}
        assert {uri: label for uri, label in found.items() if "cut" not in uri} == expected
        assert len(found) == len(refs)

    def check_errors(errors):
        (error,) = errors
        assert (error.reason, error.unread) == (Reason.CORRUPT_ARCHIVE, True)
        assert error.ref.uri == f"{tmp_path}/cut.tar"
        assert dict(error.ref.columns) == {"label": "v"}

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | ReadManifest(spec=spec)
        assert_that(found.refs, check, label="Refs")
        assert_that(found.errors, check_errors, label="Errors")
    everything = list(read_all(spec))
    check([row for row in everything if isinstance(row, ImageRef)])
    check_errors([row for row in everything if isinstance(row, ImageError)])


def test_several_are_read_in_one_pipeline_and_their_rows_taken_more_than_once(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"/{name}.jpg\n")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        for name in "ab":
            sources = find_sources([str(tmp_path / f"{name}.txt")])
            spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
            rows = pipeline | f"Read{name}" >> ReadManifest(spec=spec)
            assert rows.refs is rows.refs and rows.tables is rows.tables
            assert rows.refs.producer.full_label == f"Read{name}/TakeRefs"
            uris = rows.refs | f"Uris{name}" >> beam.Map(lambda ref: ref.uri)
            assert_that(uris, equal_to([f"/{name}.jpg"]), label=f"Check{name}")


def test_whatever_an_archive_raises_is_one_row(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(archives.tar({"a.jpg": b"1"}))
    (tmp_path / "m.txt").write_text("a.tar\nloose.jpg\n")

    def raises(*_, **__):
        yield ManifestRow(1, f"{tmp_path}/a.tar!/a.jpg")
        raise ZeroDivisionError("what nobody foresaw")

    monkeypatch.setattr(formats, "read_packed", raises)
    sources = find_sources([str(tmp_path / "m.txt")])
    spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
    first, error, loose = read_all(spec)
    assert (first.uri, loose.uri) == (f"{tmp_path}/a.tar!/a.jpg", f"{tmp_path}/loose.jpg")
    assert error.reason is Reason.CORRUPT_ARCHIVE and error.unread
    assert error.ref.uri == f"{tmp_path}/a.tar"
    assert "what nobody foresaw" in error.message


def test_an_archive_without_images_is_a_lost_row_only_where_a_row_names_it(tmp_path):
    """In a directory it may be of another purpose."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.tar").write_bytes(archives.tar({"letter.txt": b"1"}))
    (tmp_path / "rows.txt").write_text("m/a.tar\n")

    def rows(*names):
        sources = find_sources([str(tmp_path / name) for name in names])
        return list(
            read_all(examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec)
        )

    assert rows("m") == []
    (error,) = rows("rows.txt")
    assert (error.reason, error.ref.uri) == (Reason.NOT_FOUND, f"{tmp_path}/m/a.tar")
    assert "holds no image" in error.message
