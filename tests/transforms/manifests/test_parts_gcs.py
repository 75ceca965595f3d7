"""Manifests on gs:// are read in parts, and compressed ones side by side."""

import gzip
import json

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from image_features.transforms.manifests import blocks, ranges
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.manifests.ranges import divide
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import ReadManifest, read_all, read_blocks, read_source
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageRef
from tests.gcs import Access, Proxy, emulator

ROWS = [{"uri": f"{n:03}/é.jpg", "label": f"{n % 7}", "etag": f"v{n}"} for n in range(400)]
LINES = {
    "txt": [row["uri"] for row in ROWS],
    "csv": ["uri,label,etag", *(",".join(row.values()) for row in ROWS)],
    "jsonl": [json.dumps(row) for row in ROWS],
}
ODD = {"txt": "a\0.jpg", "csv": "only one field", "jsonl": "{"}


@pytest.fixture(scope="module")
def bucket():
    """A bucket of which the server tells generations with the data, as Google's does."""
    uploads = 0
    ask = Proxy.ask

    def telling(proxy, method, path, body, headers):
        nonlocal uploads
        uploads += method == "POST"
        answer = ask(proxy, method, path, body, headers)
        answer.headers["X-Goog-Generation"] = str(uploads)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Proxy, "ask", telling)
        with emulator(patch, "images", Access.EMULATOR) as bucket:
            yield bucket


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 500)
    monkeypatch.setattr(ranges, "LEAST_BYTES", 1000)
    monkeypatch.setattr(ranges, "PART_BYTES", 2000)


def spec_of(location):
    column = None if "txt" in location else "etag"
    sources = find_sources([location])
    return examine(
        sources, uri_column=None, declared={}, http=HttpPolicy(), version_column=column
    ).spec


def told(rows, spec):
    """Yields what rows say, in their order."""
    for row in rows:
        if isinstance(row, PlainRows):
            table = RefTable.of_rows(row, spec.sources[0].location, spec.columns)
            yield from map(repr, table.refs())
        else:
            yield repr(row)


@pytest.mark.parametrize("suffix", LINES)
def test_parts_have_the_same_rows_in_the_same_order(bucket, small, suffix):
    lines = [*LINES[suffix][:150], ODD[suffix], *LINES[suffix][150:]]
    blob = bucket.blob(f"in/m.{suffix}")
    blob.upload_from_string("\n".join(lines))
    spec = spec_of(f"gs://images/in/m.{suffix}")
    (source,) = spec.sources
    expected = list(told(read_source(source, spec), spec))
    parts = divide(source, spec)
    assert len(parts) > 2
    (version,) = {part.part.version for part in parts}
    assert version.startswith("generation:")
    found = [list(read_blocks(part, spec)) for part in parts]
    assert any(isinstance(row, PlainRows) for rows in found for row in rows)
    assert list(told((row for rows in found for row in rows), spec)) == expected
    assert len(expected) == len(ROWS) + 1
    assert suffix == "txt" or "version='column:v399'" in expected[-1]
    blob.upload_from_string("\n".join(lines))
    with pytest.raises(ManifestError, match="has changed"):
        list(read_blocks(parts[1], spec))


@pytest.mark.parametrize("suffix", LINES)
def test_each_of_several_compressed_manifests_is_read_by_itself(bucket, small, suffix):
    head = LINES[suffix][: suffix == "csv"]
    rows = LINES[suffix][len(head) :]
    for number in range(4):
        text = "\n".join([*head, *rows[number::4]])
        blob = bucket.blob(f"{suffix}/{number}.{suffix}.gz")
        blob.upload_from_string(gzip.compress(text.encode()))
    spec = spec_of(f"gs://images/{suffix}/*.{suffix}.gz")
    assert [divide(source, spec) for source in spec.sources] == [[s] for s in spec.sources]
    found = list(read_all(spec))
    assert all(isinstance(ref, ImageRef) for ref in found)
    named = [f"gs://images/{suffix}/{row['uri']}" for row in ROWS]
    in_order = [uri for number in range(4) for uri in named[number::4]]
    assert [ref.uri for ref in found] == in_order
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = pipeline | ReadManifest(spec=spec)
        assert_that(read.refs, equal_to(found), label="Refs")
        assert_that(read.errors, equal_to([]), label="Errors")
