"""Who may do what on gs://, and what objects may be called, against fake-gcs-server."""

from __future__ import annotations

import itertools
import json

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from tests import gcs, images
from tests.gcs import Access

NAMES = [
    "a b.jpg",
    "q?x=1.jpg",
    "h#1.jpg",
    "new\nline.jpg",
    "ü漢.jpg",
    "a//b.jpg",
    "/lead.jpg",
    "a/../b.jpg",
    "pct%20.jpg",
    "100%.jpg",
    "plus+&k=v.jpg",
    "[b]*.jpg",
    "UP.JPG",
]


@pytest.fixture(scope="module")
def place():
    with pytest.MonkeyPatch.context() as patch, gcs.server(patch, "images") as (bucket, proxy):
        for number, name in enumerate(NAMES):
            image = images.encode(images.noise(number))
            bucket.blob(f"odd/{name}").upload_from_string(image)
        rows = [{"uri": f"odd/{name}", "number": n} for n, name in enumerate(NAMES)]
        bucket.blob("odd.jsonl").upload_from_string("\n".join(map(json.dumps, rows)))
        yield bucket, proxy


@pytest.fixture
def proxy(place):
    yield place[1]
    place[1].trouble = lambda method, path, times: None
    place[1].sign_in.lifetime = 3599
    place[1].sign_in.answers = []


def extract(source, output):
    arguments = [f"--input={source}", f"--output={output}", "--run_id=run", "--num_shards=2"]
    return cli.main(["extract", "--model=untrained", *arguments])


@pytest.mark.parametrize("access", [Access.ANONYMOUS, Access.EMULATOR])
def test_a_run_with_no_credentials(access):
    with (
        pytest.MonkeyPatch.context() as patch,
        gcs.server(patch, "my.bucket.example.com", access) as (bucket, _),
    ):
        for number in range(3):
            image = images.encode(images.noise(number))
            bucket.blob(f"in.d/{number}.jpg").upload_from_string(image)
        place = f"gs://{bucket.name}"
        assert extract(f"{place}/in.d", f"{place}/out") == 0
        assert inspection.verify(latest_run(f"{place}/out")) == []
        assert len(dataset.load_numpy(f"{place}/out").uris) == 3


@pytest.mark.parametrize("source", ["odd", "odd.jsonl"])
def test_the_name_of_an_object_may_be_any(proxy, source):
    output = f"gs://images/out-{source}"
    assert extract(f"gs://images/{source}", output) == 0
    arrays = dataset.load_numpy(output)
    assert sorted(arrays.uris) == sorted(f"gs://images/odd/{name}" for name in NAMES)
    if source == "odd.jsonl":
        for uri, number in zip(arrays.uris, arrays.columns["number"], strict=True):
            assert uri == f"gs://images/odd/{NAMES[number]}"


def test_tokens_may_end_and_be_revoked_while_a_run_goes_on(proxy):
    proxy.sign_in.lifetime = 230  # Some seconds more than what counts as over.
    requests = itertools.count()

    def revoke(method, path, times):
        if next(requests) % 5 == 4:
            proxy.sign_in.revoke()

    before = len(proxy.sign_in.granted)
    proxy.trouble = revoke
    assert extract("gs://images/odd", "gs://images/revoked") == 0
    assert read_record("gs://images/revoked/run")["counts"]["rows_out"] == len(NAMES)
    assert len(proxy.sign_in.granted) > before + 5


def test_a_sign_in_that_is_down_for_a_while_is_waited_for(proxy):
    proxy.sign_in.revoke()
    proxy.sign_in.answers = [(503, {})] * 2
    assert extract("gs://images/odd", "gs://images/down") == 0
    assert not proxy.sign_in.answers


def test_who_may_read_and_not_list_can_extract_what_a_manifest_names(proxy, tmp_path, capsys):
    def trouble(method, path, times):
        return 403 if method == "GET" and path.endswith("/o") else None

    proxy.trouble = trouble
    assert extract("gs://images/odd.jsonl", tmp_path / "out") == 0
    assert read_record(str(tmp_path / "out" / "run"))["counts"]["rows_out"] == len(NAMES)
    capsys.readouterr()
    for source, output in (("odd", tmp_path / "no"), ("odd.jsonl", "gs://images/no")):
        assert extract(f"gs://images/{source}", output) == 2
        error = capsys.readouterr().err
        assert "is denied; check the credentials" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("trouble", "answers", "says"),
    [
        (None, [(400, {"error": "invalid_grant", "error_description": "Gone."})] * 9, "Gone."),
        (400, [], "cannot be used: 400"),
    ],
)
def test_what_google_says_is_one_sentence(proxy, capsys, trouble, answers, says):
    proxy.sign_in.revoke()
    proxy.sign_in.answers = list(answers)
    proxy.trouble = lambda method, path, times: trouble
    assert extract("gs://images/odd", "gs://images/never") == 2
    error = capsys.readouterr().err
    assert says in error and "BeamIOError" not in error
    assert error.count("\n") == 1
