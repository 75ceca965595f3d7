"""The nearest images of a dataset, from the command line."""

import json
import os
import pathlib
import re

import numpy as np
import pytest

from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.run import committed_runs, current_runs
from image_features.pipeline.search import nearest as search
from image_features.pipeline.search.index import index_file, open_index
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.datasets import read_examples
from tests.http_server import ImageServer

COUNT = 30


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for i in range(COUNT):
        (directory / f"{i:02d}.jpg").write_bytes(images.encode(images.noise(i), quality=90))
    return directory


@pytest.fixture
def ask(capsys):
    """Runs `search`; returns its JSON lines."""

    def run(*arguments):
        capsys.readouterr()
        assert cli.main(["search", *map(str, arguments), "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def expected(arrays, uri, count):
    """The nearest by a plain product of all with all."""
    unit = arrays.features / np.linalg.norm(arrays.features, axis=1, keepdims=True)
    similarity = unit @ unit[list(arrays.uris).index(uri)]
    order = np.argsort(-similarity)[:count]
    return [(str(arrays.uris[i]), pytest.approx(float(similarity[i]), abs=1e-5)) for i in order]


def test_an_image_finds_itself_and_what_is_near_it(extract, photos, ask, tmp_path):
    run = extract(photos, "--num_shards=3")
    query = str(photos / "07.jpg")
    wanted = expected(dataset.load_numpy(str(run)), query, 5)
    found = ask(run.parent, query, "-k", 5)
    assert [(row["uri"], row["similarity"]) for row in found] == wanted
    assert [row["rank"] for row in found] == [1, 2, 3, 4, 5]
    assert found[0]["key"] == image_key(query)
    again = ask(run, "--key", image_key(query), "-k", 4)
    assert [(row["uri"], row["similarity"]) for row in again] == wanted[1:]
    assert ask(run, "--uri", query, "-k", 4) == again
    with ImageServer({"q.jpg": (photos / "07.jpg").read_bytes()}) as server:
        over_http = ask(run, server.url("q.jpg"), "-k", 5, "--allow_private_hosts")
    assert over_http == found


def test_the_filter_of_a_run_is_that_of_its_queries(extract, photos, ask, capsys):
    options = ("--interpolation=bicubic", "--antialias=no")
    run = extract(photos, *options)
    arrays = dataset.load_numpy(str(run))
    policy = DecodePolicy((96, 96), interpolation="bicubic", antialias=False)
    assert committed_runs(str(run.parent))[0].provenance.decode.to_json() == policy.to_json()
    pixels = [decode_image(pathlib.Path(uri).read_bytes(), policy).pixels for uri in arrays.uris]
    module = FeatureModule.load(resolve("untrained").directory)
    np.testing.assert_allclose(arrays.features, module(np.stack(pixels)), rtol=1e-4, atol=1e-5)
    found = ask(run.parent, photos / "07.jpg", "-k", 1)
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-6)
    # Another filter gives other vectors, which are not mixed with these.
    extract(photos, run_id="second", code=2)
    said = capsys.readouterr().err
    assert "interpolation bicubic -> bilinear, antialias False -> True" in said


def test_all_runs_count_and_of_each_image_the_latest(extract, photos, ask):
    first = extract(photos, "--compression=gzip", "--num_shards=2", run_id="first")
    changed, added = photos / "03.jpg", photos / "new.jpg"
    changed.write_bytes(images.encode(images.noise(77), quality=90))
    added.write_bytes(images.encode(images.noise(77), quality=90))
    manifest = photos / "m.txt"
    manifest.write_text("03.jpg\nnew.jpg\n")
    extract(manifest, run_id="second")
    found = ask(first.parent, added, "-k", 2 * COUNT)
    assert len(found) == COUNT + 1
    assert len({row["key"] for row in found}) == COUNT + 1
    same = {(row["uri"], row["run_id"]) for row in found if row["similarity"] > 0.9999}
    assert same == {(str(changed), "second"), (str(added), "second")}
    assert {row["run_id"] for row in found[2:]} == {"first"}


def test_the_index_agrees_and_follows_the_runs(extract, photos, ask):
    pytest.importorskip("usearch")
    run = extract(photos, "--num_shards=3", "--compression=gzip", run_id="first")
    query = photos / "07.jpg"
    exact = ask(run.parent, query, "--index=never")
    by_index = ask(run.parent, query, "--index=always")
    assert [row["key"] for row in by_index] == [row["key"] for row in exact]
    for ours, theirs in zip(by_index, exact, strict=True):
        assert ours["similarity"] == pytest.approx(theirs["similarity"], abs=1e-5)
    (index,) = run.parent.glob(".search-*")
    before = index.stat().st_mtime_ns
    ask(run.parent, query, "--index=always")
    assert index.stat().st_mtime_ns == before
    extract(photos, "--num_shards=2", run_id="second")
    found = ask(run.parent, query, "--index=always")
    assert {row["run_id"] for row in found} == {"second"}
    (new,) = run.parent.glob(".search-*")
    assert new.name != index.name


def test_records_are_read_as_tensorflow_reads_them(extract, photos):
    manifest = photos / "m.jsonl"
    lines = [{"uri": f"{i:02d}.jpg", "n": i - 2, "tags": ["é", "b"] * (i % 2)} for i in range(5)]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    run = extract(manifest)
    (block,) = LatestRows(committed_runs(str(run))).seen()
    for ours, theirs in zip(block.records, read_examples(str(run)), strict=True):
        theirs = theirs.features.feature
        assert set(ours._features) == set(theirs)
        assert ours.number("n") == theirs["n"].int64_list.value[0]
        assert list(ours.strings("tags")) == list(theirs["tags"].bytes_list.value)
        assert ours.text("image/uri").encode() == theirs["image/uri"].bytes_list.value[0]
    np.testing.assert_array_equal(block.features, dataset.load_numpy(str(run)).features)


def test_vectors_without_a_direction_are_far_from_all():
    vectors = np.array([[0, 0], [np.nan, 1], [3, 4]], np.float32)
    np.testing.assert_allclose(search.unit(vectors), [[0, 0], [0, 1], [0.6, 0.8]])


def test_a_terminal_is_not_told_what_to_do(extract, photos, capsys):
    (photos / "\x1b[31mred\n.jpg").write_bytes(images.encode(images.noise(99)))
    run = extract(photos)
    capsys.readouterr()
    assert cli.main(["search", str(run), str(photos / "01.jpg"), "-k", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == COUNT + 1
    assert any("\\x1b[31mred\\n.jpg" in line for line in lines)
    assert re.fullmatch(r" +1  1\.0000  .*/01\.jpg", lines[0])


def test_what_cannot_be_searched_is_refused(extract, photos, capsys, caplog, tmp_path):
    run = extract(photos)
    text = tmp_path / "text.jpg"
    text.write_bytes(images.HTML)
    query = str(photos / "01.jpg")

    def refused(*arguments):
        capsys.readouterr()
        assert cli.main(["search", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    record = run / "run.json"
    committed = record.read_text()
    record.write_text(re.sub(r'"content_hash": "\w{4}', '"content_hash": "0000', committed))
    assert "has the content hash" in refused(run, query)
    record.write_text(committed)
    assert "does not exist" in refused(run, tmp_path / "no.jpg")
    assert "is HTML and no image" in refused(run, text)
    assert "no row of the key" in refused(run, "--key", "0" * 32)
    assert "32 hexadecimal digits" in refused(run, "--key", "0x")
    assert "no row of" in refused(run, "--uri", "https://example.com/a.jpg")
    assert "no committed run" in refused(tmp_path / "nothing", query)
    assert "Give one of" in refused(run)
    assert "Give one of" in refused(run, query, "--key", "0" * 32)
    assert "above 0" in refused(run, query, "-k", 0)
    with ImageServer({"q.jpg": photos.joinpath("01.jpg").read_bytes()}) as server:
        assert "allow_private_hosts" in refused(run, server.url("q.jpg"))
    extract(photos, "--resize=pad", "--new_series", run_id="other")
    capsys.readouterr()
    assert cli.main(["search", str(run.parent), query]) == 0
    assert " rows are hidden, in 1 other run(s) such as run," in caplog.text
    shard = run / "features-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-3])
    assert "cut short" in refused(run, query)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_search_index_that_is_damaged_is_made_again(nights, part, caplog):
    pytest.importorskip("usearch")
    runs = current_runs(str(nights))
    file = index_file(str(nights), runs)
    size = os.path.getsize(file)
    os.truncate(file, int(part * size))
    open_index(str(nights), runs)
    assert f"{file} is damaged" in caplog.text
    assert os.path.getsize(file) == size
