"""gs:// for everything, against fake-gcs-server, with trouble on the way."""

import dataclasses
import json
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from image_features.errors import CommitError, RunHeldError
from image_features.models import export, mobilenet_v2
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.layout import CLAIM_FILE
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.stores import versions
from image_features.transforms.stores.files import create_once
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason
from tests import gcs, images, runs

PHOTOS = 8


@pytest.fixture(scope="module")
def place():
    with pytest.MonkeyPatch.context() as patch, gcs.server(patch, "images") as (bucket, proxy):
        lines = ["uri,label"]
        for i in range(PHOTOS):
            bucket.blob(f"in/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
            lines.append(f"{i}.jpg,{i}")
        bucket.blob("in/m.csv").upload_from_string("\n".join([*lines, "gone.jpg,99"]))
        yield bucket, proxy


@pytest.fixture
def bucket(place):
    yield place[0]
    place[1].trouble = lambda method, path, times: None


@pytest.fixture
def proxy(place, bucket):
    place[1].forget()
    return place[1]


def extract(*options, run_id="run", output="gs://images/out", model="untrained"):
    arguments = [f"--model={model}", f"--output={output}", f"--run_id={run_id}", "--num_shards=2"]
    return cli.main(["extract", *arguments, *options])


def names(bucket, prefix):
    return {blob.name for blob in bucket.client.list_blobs(bucket.name, prefix=prefix)}


def test_an_archive_is_one_generation_of_its_object(bucket, proxy, tmp_path):
    members = {f"{i}.jpg": images.encode(images.noise(i)) for i in range(PHOTOS)}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in members.items():
            (tmp_path / name).write_bytes(data)
            archive.add(tmp_path / name, name)
    bucket.blob("packed/a.tar").upload_from_filename(tmp_path / "a.tar")
    uri = "gs://images/packed/a.tar"
    for run_id, rows in (("n1", PHOTOS), ("n2", 0)):
        out = "gs://images/packed/out"
        assert extract(f"--input={uri}", "--incremental", run_id=run_id, output=out) == 0
        assert read_record(f"{out}/{run_id}")["counts"]["rows_out"] == rows
    with open_ranged(uri, http=HttpPolicy()) as file:
        assert file.version == versions.of_object(bucket.get_blob("packed/a.tar").generation)
        assert file.seek(0, 2) == (tmp_path / "a.tar").stat().st_size


def test_manifest_images_model_and_output_on_gs(bucket, tmp_path):
    module = tmp_path / "module"
    export.export_tf1_hub(mobilenet_v2.seeded_weights(seed=7), str(module))
    with tarfile.open(tmp_path / "module.tar.gz", "w:gz") as archive:
        archive.add(module, ".")
    bucket.blob("models/tiny.tar.gz").upload_from_filename(tmp_path / "module.tar.gz")
    assert extract("--input=gs://images/in/m.csv", model="gs://images/models/tiny.tar.gz") == 0
    assert inspection.verify(latest_run("gs://images/out")) == []
    run = read_record("gs://images/out/run")
    assert run["counts"]["failed_by_reason"] == {"not_found": 1}
    arrays = dataset.load_numpy("gs://images/out")
    for uri, label in zip(arrays.uris, arrays.columns["label"], strict=True):
        assert uri == f"gs://images/in/{label}.jpg"
    assert not [name for name in names(bucket, "out/") if ".staging" in name]


@pytest.mark.parametrize("status", [429, 503])
def test_every_request_may_fail_once(bucket, proxy, status):
    output = f"gs://images/out-{status}"
    assert extract("--input=gs://images/in", output=f"{output}-calm") == 0
    proxy.forget()
    proxy.trouble = lambda method, path, times: status if times == 1 else None
    assert extract("--input=gs://images/in", output=output) == 0
    assert proxy.statuses[status] > PHOTOS
    assert inspection.verify(latest_run(output)) == []
    assert len(dataset.load_numpy(output).uris) == PHOTOS
    assert runs.shard_files(f"{output}/run") == runs.shard_files(f"{output}-calm/run")


def test_the_commit_is_one_object_that_is_never_replaced(bucket, proxy):
    assert create_once("gs://images/once/run.json", b"one", "")
    assert not create_once("gs://images/once/run.json", b"two", "")
    assert bucket.blob("once/run.json").download_as_bytes() == b"one"
    # An answer that is lost: the object is there, and the next attempt finds it.
    proxy.trouble = lambda method, path, times: 503 if times < 3 else None
    assert create_once("gs://images/twice/run.json", b"one", "")
    with pytest.raises(FetchError) as caught:
        create_once("gs://no-such-bucket/run.json", b"one", "")
    assert caught.value.reason is Reason.NOT_FOUND


def test_a_second_commit_is_refused_and_a_repeated_one_is_not(bucket):
    config = runs.config("gs://images/again/run")
    first = runs.commit(config, [runs.FEATURES, runs.INDEX, runs.ERRORS], 7)
    again = runs.commit(config, [runs.INDEX, runs.ERRORS, runs.FEATURES], 7)
    assert again["finished"] == first["finished"]
    with pytest.raises(CommitError, match="written by another job"):
        runs.commit(
            dataclasses.replace(config, started="later"),
            [runs.FEATURES, runs.INDEX, runs.ERRORS],
            7,
        )
    assert read_record("gs://images/again/run")["finished"] == first["finished"]


@pytest.mark.parametrize("before", ["nothing", "a dead one's"])
def test_of_many_launchers_at_once_one_has_the_run(bucket, before):
    def won(_):
        try:
            Claim("gs://images/claimed/.staging").take()
        except RunHeldError:
            return False
        return True

    path = f"claimed/.staging/{CLAIM_FILE}"
    for _ in range(5):
        if before == "nothing":
            bucket.delete_blobs([path], on_error=lambda blob: None)
        else:
            late = {"holder": "x", "host": "h", "process": 1, "since": "t", "expires": 0}
            bucket.blob(path).upload_from_string(json.dumps(late))
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(won, range(8))) == 1


def test_a_kept_claim_is_renewed_and_given_up(bucket):
    place = "gs://images/kept/.staging"
    first = Claim(place, lease=1.0)
    first.take()
    with first.kept():
        time.sleep(2)
        with pytest.raises(RunHeldError, match="works on it since"):
            Claim(place).take()
    Claim(place).take()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--input=gs://no-such-bucket/m.csv"], "no-such-bucket/m.csv/ does not exist, or its bu"),
        (["--input=gs://images/in/absent.csv"], "absent.csv does not exist"),
        (["--input=gs://images/in", "--output=gs://no-such-bucket/out"], "or its bucket does not"),
        (["--input=gs://images/in", "--model=gs://no-such-bucket/m.tar.gz"], "no-such-bucket"),
    ],
)
def test_what_is_not_there_is_said_before_any_work(bucket, capsys, options, says):
    before = names(bucket, "")
    model = [] if any("--model" in option for option in options) else ["--model=untrained"]
    assert cli.main(["extract", "--output=gs://images/nothing", *model, *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert names(bucket, "") == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_forbidden_is_said_before_any_work(bucket, proxy, capsys, method):
    proxy.trouble = lambda verb, path, times: 403 if verb == method else None
    assert extract("--input=gs://images/in", output="gs://images/forbidden") == 2
    error = capsys.readouterr().err
    assert "gs://images/forbidden" in error
    assert "cannot be" in error
    assert "is denied; check the credentials" in error
    assert error.count("\n") == 1


def test_images_that_are_forbidden_are_error_rows(bucket, proxy):
    proxy.trouble = lambda verb, path, times: 403 if path.endswith("in%2F3.jpg") else None
    assert extract("--input=gs://images/in", output="gs://images/partly") == 0
    counts = read_record("gs://images/partly/run")["counts"]
    assert counts["failed_by_reason"] == {"access_denied": 1}
    assert counts["rows_out"] == PHOTOS - 1
    assert np.isfinite(dataset.load_numpy("gs://images/partly").features).all()


@pytest.mark.parametrize("source", ["gs://images/listed", "gs://images/named.txt"])
def test_nights_on_gs(bucket, proxy, source, capsys):
    folder = source.removeprefix("gs://images/").removesuffix(".txt")
    for i in range(4):
        bucket.blob(f"{folder}/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
    manifest = "\n".join(f"gs://images/{folder}/{i}.jpg" for i in range(5))
    bucket.blob(f"{folder}.txt").upload_from_string(manifest)
    output = f"gs://images/{folder}-features"
    read = Counter()

    def trouble(method, path, times):
        # What Beam's client lists and opens is not counted: only images are read this way.
        read[f"/{folder}%2F" in path and method == "GET"] += 1
        return 503 if times == 1 and f"/{folder}%2F" in path else None

    def night(name, *options):
        read.clear()
        proxy.forget()
        proxy.trouble = trouble
        arguments = (f"--input={source}", "--incremental", *options)
        assert extract(*arguments, run_id=name, output=output) == 0
        counts = read_record(f"{output}/{name}")["counts"]
        return counts["rows_out"], counts["rows_unchanged"], counts["rows_removed"]

    assert night("1") == (4, 0, 0)
    bucket.blob(f"{folder}/4.jpg").upload_from_string(images.encode(images.noise(40)))
    bucket.blob(f"{folder}/1.jpg").upload_from_string(images.encode(images.noise(41)))
    assert night("2") == (2, 3, 0)
    if not source.endswith(".txt"):
        # A listing tells the versions: only the two were asked for, and once more in vain.
        assert read[True] == 2 * 2
    bucket.blob(f"{folder}/0.jpg").delete()
    bucket.blob(f"{folder}.txt").upload_from_string(manifest.partition("\n")[2])
    assert night("3", "--tombstone_removed") == (0, 4, 1)
    before = dataset.load_numpy(output)
    assert sorted(before.uris) == [f"gs://images/{folder}/{i}.jpg" for i in range(1, 5)]

    proxy.trouble = lambda method, path, times: None
    assert cli.main(["compact", output, "--run_id=all"]) == 0
    assert inspection.verify(latest_run(f"{output}/all")) == []
    after = dataset.load_numpy(output)
    order, now = np.argsort(before.keys), np.argsort(after.keys)
    assert list(after.keys[now]) == list(before.keys[order])
    np.testing.assert_array_equal(after.features[now], before.features[order])
    prefix = output.removeprefix("gs://images/")
    whole = names(bucket, f"{prefix}/")
    assert cli.main(["gc", output, "--merged_hours=0", "--dry_run"]) == 0
    assert names(bucket, f"{prefix}/") == whole
    assert cli.main(["gc", output, "--merged_hours=0"]) == 0
    assert f"removed {output}/1 (merged into all" in capsys.readouterr().out
    assert {name.split("/")[1] for name in names(bucket, f"{prefix}/")} == {"all"}
    assert sorted(dataset.load_numpy(output).uris) == sorted(after.uris)
    assert night("4") == (0, 4, 0)


def test_search_and_report_go_on_where_every_request_fails_once(bucket, proxy, tmp_path, capsys):
    output = "gs://images/looked-at"
    assert extract("--input=gs://images/in", output=output) == 0
    capsys.readouterr()
    answers = []
    for pictures, trouble in ((PHOTOS, None), (0, 503)):
        proxy.forget()
        proxy.trouble = lambda method, path, times, status=trouble: status if times == 1 else None
        options = ["--uri=gs://images/in/3.jpg", f"-k={PHOTOS}", "--json"]
        assert cli.main(["search", output, *options]) == 0
        answers.append(capsys.readouterr().out)
        assert len(answers[-1].splitlines()) == PHOTOS - 1
        assert cli.main(["report", output, f"--output={tmp_path}/page.html"]) == 0
        # A picture is asked for once.
        said = f"{PHOTOS} images sampled, {pictures} of {PHOTOS} thumbnails"
        assert said in capsys.readouterr().out
    assert answers[0] == answers[1]
    assert proxy.statuses[503] > PHOTOS
