"""What is known of a dataset, against a model of it in a few lines."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms import skip_known
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.manifests.columns import parse_column_types
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.merge_rows import _ChooseDoFn
from image_features.transforms.read_manifest import ReadManifest
from image_features.transforms.shards import known_files
from image_features.transforms.shards.index import index_file, index_note, read_index
from image_features.transforms.shards.known_errors import split_errors
from image_features.transforms.shards.known_files import KnownFiles
from image_features.transforms.shards.known_index import (
    KnownFile,
    count_partitions,
    latest_of,
    partition_of,
    read_known,
    split_table,
)
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.spill import Spill
from image_features.transforms.skip_known import (
    Known,
    SkipKnown,
    _CheckDoFn,
    _HashDoFn,
    _hashed,
    _hashed_known,
)
from image_features.transforms.stores import versions
from image_features.transforms.stores.uris import image_key, key_of_text
from image_features.transforms.values import ImageRef
from tests import images

NO_SPILL = Spill()
NAMES = st.sampled_from([f"gs://b/{n}.jpg" for n in range(12)])
# A run: versions by image, and the images that it declares gone.
RUN = st.tuples(st.dictionaries(NAMES, st.sampled_from(["", "1", "2"])), st.sets(NAMES))


def write_run(directory, age, rows, gone):
    """The files of a run."""
    files = []
    keys = sorted((image_key(uri), uri) for uri in rows)
    path = directory / f"index-{age}.parquet"
    notes = [index_note("0" * 64, versions.of_column(rows[uri]), uri) for _, uri in keys]
    path.write_bytes(index_file(np.array([key.encode() for key, _ in keys], "S32"), notes))
    files.append(KnownFile(str(path), "index", age, len(keys)))
    # A key cannot be both in one run.
    lines = [json.dumps({"key": image_key(uri), "uri": uri}) for uri in sorted(gone - set(rows))]
    path = directory / f"tombstones-{age}.jsonl"
    path.write_text("\n".join(lines))
    files.append(KnownFile(str(path), "tombstones", age, len(lines)))
    return files


def write_runs(directory, runs):
    return KnownFiles.of(
        file for age, run in enumerate(runs) for file in write_run(directory, age, *run)
    )


def live(runs):
    """The latest version of each image, by the model."""
    found, settled = {}, set()
    for rows, gone in runs:
        for uri, version in rows.items():
            if uri not in settled:
                found[uri] = version
        settled |= set(rows) | gone
    return found


def divided(files, partitions, verify=False, spill=NO_SPILL):
    parts = {}
    for batch in map(files.numbered, files.together()):
        for table in read_known(batch, verify):
            for number, part in spill.put(split_table(table, partitions)):
                parts.setdefault(number, []).append(part)
    return parts


def packed(refs):
    return RefTable.of(refs, ()).packed()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(RUN, max_size=3),
    st.lists(st.tuples(NAMES, st.sampled_from(["1", "2"])), max_size=20),
    st.integers(1, 5),
    st.booleans(),
)
def test_rows_are_new_or_known_as_the_model_says(
    tmp_path_factory, runs, manifest, partitions, spills
):
    directory = tmp_path_factory.mktemp("runs")
    spill = Spill(str(directory / "spill")) if spills else NO_SPILL
    files = write_runs(directory, runs)
    # The first mention of an image counts.
    refs = [
        ImageRef(uri, image_key(uri), "m", row, version=versions.of_column(version))
        for row, (uri, version) in enumerate(manifest)
    ]
    first = {}
    for uri, version in manifest:
        first.setdefault(uri, version)
    known = live(runs)

    parts = divided(files, partitions, spill=spill)
    rows = {}
    for ref in refs:
        for number, part in _hashed(RefTable.of([ref], ()), partitions, spill):
            assert number == partition_of(ref.key, partitions)
            rows.setdefault(number, []).append(part)
    do_fn = _CheckDoFn(Known(files), FetchPolicy(threads=2), {}, spill)
    do_fn.setup()
    out = {"refs": [], "unchanged": 0, "duplicates": 0, "removed": []}
    for number in range(partitions):
        group = {"rows": rows.get(number, []), "known": parts.get(number, []), "unread": []}
        for item in do_fn.process((number, group), False):
            if not isinstance(item, TaggedOutput):
                out["refs"] += item.refs()
            elif item.tag == "removed":
                path, places = item.value
                table = read_index(path, ["uri"]).take(np.frombuffer(places, "<u4"))
                out["removed"] += table["uri"].to_pylist()
            else:
                out[item.tag] += item.value
    changed = {uri for uri, version in first.items() if known.get(uri) != version}
    assert sorted(ref.uri for ref in out["refs"]) == sorted(changed)
    assert all(ref.version == versions.of_column(first[ref.uri]) for ref in out["refs"])
    assert out["unchanged"] == len(first) - len(changed)
    assert out["duplicates"] == len(manifest) - len(first)
    assert sorted(out["removed"]) == sorted(set(known) - set(first))


@settings(deadline=None, max_examples=60)
@given(st.lists(RUN, min_size=1, max_size=4), st.lists(st.sets(NAMES), max_size=4))
def test_merging_chooses_what_the_model_says(tmp_path_factory, runs, failures):
    directory = tmp_path_factory.mktemp("runs")
    files = write_runs(directory, runs)
    errors = {}
    for age, uris in enumerate(failures[: len(runs)]):
        path = directory / f"errors-{age}.jsonl"
        lines = [{"uri": uri, "stage": "fetch", "reason": f"r{age}"} for uri in sorted(uris)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for key, part in split_errors(KnownFile(str(path), "errors", age, len(lines)), 1):
            errors.setdefault(key, []).append(part)
    chosen, kept, counts = [], {}, {}
    group = {"known": divided(files, 1).get(0, []), "errors": errors.get(0, [])}
    for item in _ChooseDoFn(3, None).process((0, group)):
        if not isinstance(item, TaggedOutput):
            number, places = item
            table = read_index(files[number].path, ["uri", "version"]).take(
                np.frombuffer(places, "<u4")
            )
            chosen += [(row["uri"], row["version"]) for row in table.to_pylist()]
        elif item.tag == "errors":
            assert item.value.key not in kept
            kept[json.loads(item.value.payload)["uri"]] = item.value.label
        else:
            counts[item.tag] = item.value
    known = live(runs)
    assert sorted(chosen) == sorted((uri, versions.of_column(v)) for uri, v in known.items())
    assert counts["chosen"] == len(known)
    assert counts["replaced"] == sum(len(rows) for rows, _ in runs) - len(known)
    expected = {}
    for age, uris in enumerate(failures[: len(runs)]):
        for uri in uris - set(expected):
            # The latest that any run says of it, if it is no row.
            says = next((n for n, run in enumerate(runs) if uri in run[0] or uri in run[1]), None)
            removed_since = says is not None and says <= age
            if uri not in known and not removed_since:
                expected[uri] = f"r{age}"
    assert kept == expected


def test_partitions_grow_with_the_rows():
    assert [count_partitions(n) for n in (0, 1, 50_000, 50_001, 10**7)] == [1, 1, 1, 2, 200]
    keys = [key_of_text(str(n)) for n in range(2000)]
    sizes = np.bincount([partition_of(key, 7) for key in keys])
    assert len(sizes) == 7 and sizes.min() > 200


def test_small_files_are_read_together(monkeypatch):
    monkeypatch.setattr(known_files, "_ROWS_READ_TOGETHER", 10)
    files = KnownFiles.of(
        KnownFile(str(n), "index", 0, rows) for n, rows in enumerate([3, 4, 5, 20, 1])
    )
    together = [[number for number, _ in files.numbered(some)] for some in files.together()]
    assert together == [[0, 1, 2], [3], [4]]


def test_nothing_is_known_of_nothing():
    latest = latest_of([])
    assert (len(latest.keys), latest.indexed) == (0, 0)
    assert KnownFiles.of([]).together() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.randoms())
def test_the_first_mention_counts_in_any_order(mentions, rng):
    rows = [
        ImageRef(f"u{image}", f"{image:032x}", f"s{source}", row)
        for row, (image, source) in enumerate(mentions)
    ]
    places = {"s2": 0, "s0": 1, "s1": 2}  # The input has no s3.
    once, more = RefTable.of(rows, ()).sorted_once(places)
    rng.shuffle(rows)
    again, same = RefTable.unpacked(packed([row]) for row in rows).sorted_once(places)
    assert (list(again.refs()), same) == (list(once.refs()), more)
    rows.sort(key=lambda row: (row.key, places.get(row.source, 3), row.row))
    assert list(once.refs()) == [
        next(group) for _, group in itertools.groupby(rows, lambda row: row.key)
    ]
    assert len(once) + more == len(rows)


@pytest.mark.parametrize("verify", [False, True])
def test_files_are_looked_at_in_place(tmp_path, verify):
    uris = {}
    for name in ("same", "touched", "overwritten", "gone"):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(images.encode(images.noise(1)))
        uris[name] = str(path)
    keys = sorted((image_key(uri), uri) for uri in uris.values())
    notes = []
    for _, uri in keys:
        data = pathlib.Path(uri).read_bytes()
        version = versions.of_file(os.stat(uri))
        notes.append(index_note(hashlib.sha256(data).hexdigest(), version, uri))
    index = tmp_path / "index.parquet"
    index.write_bytes(index_file(np.array([key.encode() for key, _ in keys], "S32"), notes))
    files = KnownFiles.of([KnownFile(str(index), "index", 0, len(keys))])
    os.utime(uris["touched"], (1, 1))
    status = os.stat(uris["overwritten"])
    data = bytearray(pathlib.Path(uris["overwritten"]).read_bytes())
    data[-3] ^= 1
    pathlib.Path(uris["overwritten"]).write_bytes(data)
    os.utime(uris["overwritten"], ns=(status.st_atime_ns, status.st_mtime_ns))
    os.unlink(uris["gone"])
    do_fn = _CheckDoFn(Known(files, verify_content=verify), FetchPolicy(threads=4), {}, NO_SPILL)
    do_fn.setup()
    rows = [ImageRef(uri, image_key(uri)) for uri in uris.values()]
    group = {"rows": [packed(rows)], "known": divided(files, 1, verify)[0], "unread": []}
    out = [
        ref
        for item in do_fn.process((0, group), False)
        if not isinstance(item, TaggedOutput)
        for ref in item.refs()
    ]
    changed = "overwritten" if verify else "touched"
    assert sorted(ref.uri for ref in out) == sorted([uris["gone"], uris[changed]])


def test_what_a_bad_row_names_is_not_removed(tmp_path):
    uris = [f"/data/{name}.jpg" for name in "abc"]
    files = write_runs(tmp_path, [(dict.fromkeys(uris, "1"), set())])
    columns = parse_column_types("n:int64")
    (tmp_path / "m.jsonl").write_text('{"uri": "/data/a.jpg", "n": "?"}\n{"n": 1}\n')
    spec = ManifestSpec(tuple(find_sources([str(tmp_path / "m.jsonl")])), tuple(columns.values()))

    def check(removals, expected, hides=True):
        def are_expected(items):
            found = []
            for path, places in items:
                table = read_index(path, ["uri"]).take(np.frombuffer(places, "<u4"))
                found += table["uri"].to_pylist()
            assert sorted(found) == expected

        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            rows = pipeline | "Read" >> ReadManifest(spec=spec)
            known = Known(files, removals=removals, hides=hides)
            skipped = {"refs": rows.parts, "errors": rows.errors} | "Skip" >> SkipKnown(
                known=known, fetch=FetchPolicy(threads=2)
            )
            assert_that(skipped.refs, equal_to([]), label="Refs")
            assert_that(*skipped.unchanged, equal_to([]), label="Unchanged")
            assert len(skipped.removed) == removals
            for removed in skipped.removed:
                assert_that(removed, are_expected, label="Removed")

    check(True, uris[1:])
    check(False, [])
    # This line may have been any of them.
    with open(tmp_path / "m.jsonl", "ab") as file:
        file.write(b'{"uri": "/data/b.jp')
    check(True, [])
    check(True, uris[1:], hides=False)


def test_keys_that_end_in_zeros_are_found():
    keys = [bytes(16), b"a" * 15 + b"\0", b"b" * 16]
    latest = latest_of([])
    latest = dataclasses.replace(latest, keys=np.array(keys, "S16"))
    places, there = latest.find([*keys, b"c" * 16, b"a" * 16])
    assert there.tolist() == [True, True, True, False, False]
    assert places[:3].tolist() == [0, 1, 2]


def test_the_transform_wants_named_arguments():
    with pytest.raises(TypeError):
        SkipKnown(Known(), FetchPolicy())


@pytest.mark.parametrize("spills", [False, True])
def test_known_rows_wait_in_few_bytes(tmp_path, spills):
    count, partitions = 20_000, 64
    uris = [
        f"/data/{number // 100:04}/{key_of_text(str(number))[:12]}.jpg" for number in range(count)
    ]
    told = [
        f"file:{number * 37 % 99991}:{10**18 + number * 10**12 + number}" for number in range(count)
    ]
    keys = sorted((image_key(uri), version, uri) for uri, version in zip(uris, told, strict=True))
    path = tmp_path / "index.parquet"
    notes = [index_note(f"{key}{key}", version, uri) for key, version, uri in keys]
    path.write_bytes(index_file(np.array([key for key, *_ in keys], "S32"), notes))
    spill = Spill(str(tmp_path / "spill") if spills else "")
    refs = [ImageRef(uri, image_key(uri), "/m.txt", row) for row, uri in enumerate(uris)]
    files = [(0, KnownFile(str(path), "index", 0, count))]
    waiting = [
        *_hashed(RefTable.of(refs, ()), partitions, spill),
        *_hashed_known(files, False, partitions, spill),
    ]
    assert {number for number, _ in waiting} == set(range(partitions))
    assert sum(len(part) for _, part in waiting) < count * (2 if spills else 100)


def test_rows_of_several_tables_are_divided_at_once(monkeypatch):
    monkeypatch.setattr(skip_known, "_ROWS_AT_ONCE", 6)
    refs = [ImageRef(f"/{row}.jpg", image_key(f"/{row}.jpg"), "m", row) for row in range(10)]
    do_fn = _HashDoFn(2, NO_SPILL)
    for _ in range(2):  # What is left of a bundle is no part of the next one.
        do_fn.start_bundle()
        parts = [
            part
            for at in range(0, 10, 2)
            for part in do_fn.process(RefTable.of(refs[at : at + 2], ()))
        ]
        assert sum(len(RefTable.unpacked([part])) for _, part in parts) == 6
        parts += [row.value for row in do_fn.finish_bundle()]
        assert len(parts) <= 4  # A part of each partition, twice.
        found = [(n, ref) for n, part in parts for ref in RefTable.unpacked([part]).refs()]
        assert all(partition_of(ref.key, 2) == number for number, ref in found)
        assert sorted(ref.row for _, ref in found) == list(range(10))
