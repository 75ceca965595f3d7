"""The page about a dataset: what it says, and what it does not let others say."""

import html.parser
import json
import re

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import committed_runs
from image_features.pipeline.report.feature_map import principal_components
from image_features.pipeline.report.gather import gather
from image_features.pipeline.report.page import wanted_thumbnails
from image_features.pipeline.report.thumbnails import Pictured, read_thumbnails
from image_features.pipeline.search.nearest import near_duplicates, neighbours, unit
from image_features.transforms.archives.framing import frame
from image_features.transforms.shards.example import serialize_example
from tests import images
from tests.datasets import read_examples
from tests.hostile import HOSTILE, write_manifest
from tests.http_server import ImageServer


class Page(html.parser.HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.data = [], [], [], None
        self._within = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        self._within = "data" if ("id", "data") in attributes else tag

    def handle_endtag(self, tag):
        self._within = None

    def handle_data(self, text):
        if self._within == "data":
            self.data = json.loads(text)
        elif self._within not in ("script", "style"):
            self.text.append(text)


@pytest.fixture
def write(capsys, tmp_path):
    """Runs `report`; returns the page."""

    def run(path, *options):
        output = tmp_path / "page.html"
        assert cli.main(["report", str(path), f"--output={output}", *options]) == 0
        assert str(output) in capsys.readouterr().out
        return Page(output.read_text())

    return run


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for i in range(12):
        (directory / f"{i:02d}.jpg").write_bytes(images.encode(images.noise(i), quality=90))
    (directory / "twin.png").write_bytes(images.encode(images.noise(3), "PNG"))
    return directory


def test_a_page_shows_runs_errors_images_and_features(extract, photos, write, tmp_path):
    extract(photos, run_id="first")
    manifest = photos / "m.txt"
    manifest.write_text("\n".join(["00.jpg", "01.jpg", "twin.png", "no.jpg", "ftp://h/a.jpg"]))
    run = extract(manifest, run_id="second")
    page = write(run.parent)
    shown = " ".join("".join(page.text).split())
    for part in ("second", "first", "not_found 1", "unsupported_scheme 1", "no.jpg does not exist"):
        assert part in shown
    assert "3 sampled images are in both runs" in shown
    charts = page.data["charts"]
    assert set(charts) == {
        *("map-0", "rows", "rate", "reasons", "formats", "sides", "ratios", "norms-0")
    }
    assert {row["rows"] for row in charts["rows"]["data"]["values"]} == {13, 0, 3, 2}
    formats = charts["formats"]["data"]["values"]
    assert {row["format"]: row["images"] for row in formats} == {"jpeg": 2, "png": 1}
    assert len(page.data["rows"]) == len(page.data["thumbnails"]) == 13
    assert {row[2] for row in page.data["rows"]} == {"first", "second"}
    assert all(
        uri.startswith("data:image/jpeg;base64,") for uri in page.data["thumbnails"].values()
    )
    linked = [v for _, name, v in page.attributes if name in ("src", "href", "action")]
    assert linked == []


def test_the_same_dataset_gives_the_same_page(extract, photos, write, tmp_path):
    run = extract(photos)
    write(run)
    first = (tmp_path / "page.html").read_bytes()
    write(run)
    assert (tmp_path / "page.html").read_bytes() == first


def test_hostile_text_stays_text(extract, tmp_path, write):
    manifest = write_manifest(tmp_path / "input", count=6, evil=HOSTILE)
    page = write(extract(manifest).parent)
    raw = (tmp_path / "page.html").read_text()
    assert raw.count("<script") == raw.count("</script") == 3
    assert "<!--" not in raw
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "owned" not in re.sub(r"<title>.*</title>", "", " ".join(page.tags))
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "main", "section", "div", "script"),
        *("h1", "h2", "h3", "p", "b", "span", "code", "br", "figure", "figcaption", "img"),
        *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "li"),
    }
    assert HOSTILE in "".join(page.text)
    assert any(HOSTILE in row[0] for row in page.data["rows"])
    assert any([HOSTILE, HOSTILE] in row[3] for row in page.data["rows"])
    (policy,) = [v for _, name, v in page.attributes if name == "content" and "script-src" in v]
    assert policy.startswith("default-src 'none'") and "unsafe-inline' 'sha" not in policy


def test_a_sample_is_the_smallest_keys_and_bounded(extract, photos, write):
    first = extract(photos, "--num_shards=3", run_id="first")
    extract(photos, "--num_shards=2", run_id="second")
    keys = sorted(dataset.load_numpy(str(first)).keys)
    report = gather(str(first.parent), committed_runs(str(first.parent)), 5)
    assert [row.key for row in report.rows] == keys[:5]
    assert {row.run_id for row in report.rows} == {"second"}
    assert report.models[0].sample.map.points.shape == (5, 2)
    assert report.models[0].shared == (5, pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert sorted(wanted_thumbnails(report, 400)) == [0, 1, 2, 3, 4]
    assert len(wanted_thumbnails(report, 2)) == 2
    page = write(first.parent, "--max_points=5", "--thumbnails=0")
    assert page.data["thumbnails"] == {}
    assert "Runs" in page.text


def test_unhealthy_features_are_counted(extract, photos):
    run = extract(photos)
    width, rows = 1280, []
    for i, example in enumerate(read_examples(str(run))):
        feature = example.features.feature
        vector = np.arange(width, dtype=np.float32) + i
        vector[7] = 1.0
        if i == 0:
            vector[:] = 0
        elif i < 3:
            vector[i] = np.nan if i == 1 else np.inf
        fields = {
            name: list(feature[name].bytes_list.value or feature[name].int64_list.value)
            for name in feature
            if name != "image/features"
        }
        rows.append(frame(serialize_example({**fields, "image/features": vector})))
    (run / "features-00000-of-00001.tfrecord").write_bytes(b"".join(rows))
    (health,) = gather(str(run), committed_runs(str(run)), 100).models[0].health
    vectors = health.vectors
    assert (vectors.rows, vectors.not_finite, vectors.zeros) == (13, 2, 1)
    assert vectors.constant == 0  # The row of zeros differs in every dimension.
    assert len(vectors.norms) == 11


def test_other_models_are_not_compared(extract, photos, write):
    extract(photos, run_id="first")
    run = extract(photos, "--resize=pad", "--new_series", run_id="second")
    shown = " ".join("".join(write(run.parent).text).split())
    assert "1 of them used another model or other options" in shown
    assert "are in both runs" not in shown


def test_an_empty_run_has_a_page(extract, tmp_path, write):
    (tmp_path / "m.txt").write_text("# nothing\n")
    page = write(extract(tmp_path / "m.txt", "--allow_empty"))
    assert page.data["rows"] == []


def test_thumbnails_of_what_can_be_had(photos, tmp_path):
    with ImageServer({"web.jpg": images.encode(images.noise(1))}) as server:
        uris = [str(photos / "00.jpg"), str(tmp_path / "no.jpg"), server.url("web.jpg")]
        found = read_thumbnails([Pictured(uri) for uri in uris], seconds=60)
        assert not server.hits
    assert found[0].startswith("data:image/jpeg;base64,")
    assert found[1:] == [None, None]
    assert read_thumbnails([Pictured(uris[0])], seconds=-1) == [None]


def test_neighbours_groups_and_components():
    vectors = unit(np.array([[1, 0], [1, 1], [0, 1], [1, 0.001], [0, 0], [0, 2]], np.float32))
    assert [row for row, _ in neighbours(vectors, 0, 2)] == [3, 1]
    assert near_duplicates(vectors, 0.999) == [(0, 3), (2, 5)]
    line = np.outer(np.arange(5), [3.0, 4.0, 0.0]).astype(np.float32)
    points, explained = principal_components(line)
    assert explained == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    np.testing.assert_allclose(np.abs(np.diff(points[:, 0])), 5, rtol=1e-4)
    assert principal_components(line[:1])[0].tolist() == [[0, 0]]


def test_what_cannot_be_reported_on_is_refused(extract, photos, tmp_path, capsys, monkeypatch):
    run = extract(photos)

    def refused(*arguments):
        capsys.readouterr()
        assert cli.main(["report", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no committed run" in refused(tmp_path / "nothing")
    assert "cannot be written" in refused(run, f"--output={photos}/00.jpg/page.html")
    assert "above 0" in refused(run, "--max_points=0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "the extra [report]" in refused(run)
