from __future__ import annotations

import json
import signal

import numpy as np
import pytest

import image_features
from tests import images


@pytest.fixture
def photos(tmp_path):
    directory = images.write_noise(tmp_path / "photos", 3)
    (directory / "broken.jpg").write_bytes(b"")
    return directory


def extract(photos, tmp_path, **options):
    output = str(tmp_path / "features")
    return image_features.extract(
        input=str(photos), output=output, model="untrained", run_id="run", **options
    )


def test_extract_returns_the_committed_run(photos, tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = extract(photos, tmp_path, num_shards=2, tombstone_removed=False, max_duration=600)
    assert run.directory == str(tmp_path / "features" / "run") and run.run_id == "run"
    assert (run.counts.rows_in, run.counts.rows_out, run.rows) == (4, 3, 3)
    assert run.counts.failed_by_reason == {"empty_file": 1}
    assert len(run.files()) == 2
    # Nobody's process was made ours.
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert [found.directory for found in image_features.runs(str(tmp_path / "features"))] == [
        run.directory
    ]
    arrays = image_features.load_numpy(run.directory)
    assert arrays.features.shape == (3, run.num_features)
    rows = {row["image/key"].numpy().decode(): row for row in image_features.load(run.directory)}
    assert set(rows) == set(arrays.keys.tolist())
    for key, features in zip(arrays.keys.tolist(), arrays.features, strict=True):
        np.testing.assert_array_equal(rows[key]["image/features"].numpy(), features)
    nearest, *_ = image_features.search(run.directory, arrays.uris[0], k=2)
    assert nearest.uri == arrays.uris[0] and nearest.distance == pytest.approx(0, abs=1e-6)


def test_a_run_that_is_committed_is_returned_as_it_is(photos, tmp_path):
    first = extract(photos, tmp_path)
    assert extract(photos, tmp_path).record == first.record


def test_several_inputs_and_failed_rows(photos, tmp_path):
    manifest = tmp_path / "more.jsonl"
    manifest.write_text(json.dumps({"uri": str(photos / "0.jpg")}) + "\n")
    output = str(tmp_path / "features")
    run = image_features.extract(
        input=[str(photos), str(manifest)], output=output, model="untrained", run_id="all"
    )
    assert (run.counts.rows_read, run.counts.duplicates) == (5, 1)
    again = {"output": output, "model": "untrained", "retry_errors": "all"}
    with pytest.raises(image_features.GuardError, match="None of the 1 rows has features"):
        image_features.extract(**again)
    retried = image_features.extract(**again, max_error_rate=1)
    assert (retried.counts.rows_in, retried.counts.rows_failed) == (1, 1)
    assert [found.run_id for found in image_features.runs(output)] == [retried.run_id, "all"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_shard": 3}, "did you mean --num_shards"),
        ({"num_shards": -1}, "not a positive whole number"),
        ({"tombstone_removed": True}, "--tombstone_removed is of use with --incremental only"),
        ({"no_wait": True}, "no option 'no_wait'"),
        ({"beam_args": ["--runner=Nonsense"]}, "--runner=Nonsense cannot be used"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(photos, tmp_path, options, says):
    with pytest.raises(image_features.UsageError, match=says) as raised:
        extract(photos, tmp_path, **options)
    assert isinstance(raised.value, image_features.ImageFeaturesError)
    assert not (tmp_path / "features" / "run").exists()


def test_a_guard_that_stops_the_commit_is_raised(photos, tmp_path):
    with pytest.raises(image_features.GuardError, match=r"1 of 4 rows failed"):
        extract(photos, tmp_path, max_error_rate=0.1)
    with pytest.raises(image_features.RunNotFoundError):
        image_features.runs(str(tmp_path / "features"))
    assert extract(photos, tmp_path, max_error_rate=0.5).rows == 3


def test_a_run_that_lasts_too_long_is_not_committed_and_leaves_the_process(photos, tmp_path):
    with pytest.raises(image_features.GuardError, match="longer than --max_duration"):
        extract(photos, tmp_path, max_duration=0.001)
