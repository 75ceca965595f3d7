"""What stops a commit, what drift is, and what the launcher makes of it."""

import dataclasses
import json
import os
import pathlib
import time

import pytest

from image_features.errors import CommitError, GuardError
from image_features.pipeline.commit import drift
from image_features.pipeline.commit.guards import check, record_broken, recorded_broken
from image_features.pipeline.config import Guards
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.failures import ErrorShards
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.run import Run, latest_run, read_record
from tests import images, runs
from tests.runs import ERRORS, FEATURES, INDEX

NOTHING = RunCounts(rows_read=0, duplicates=0, rows_in=0, rows_out=0, rows_failed=0)
COUNTS = dataclasses.replace(NOTHING, rows_read=102, rows_in=100, rows_out=95, rows_failed=5)
DRIFTED = drift.Drift("before", 1000, 0.3, 0.1, 0.0, 0.1)


@pytest.mark.parametrize(
    ("guards", "says"),
    [
        (Guards(), None),
        (Guards(max_error_rate=0.05), None),
        (Guards(max_error_rate=0.04), "5 of 100 rows failed (5.00%)"),
        (Guards(max_error_rate=0.0), "--max_error_rate=0 allows"),
        (Guards(min_rows=102), None),
        (Guards(min_rows=103), "Only 102 rows were read, fewer than --min_rows=103"),
        (Guards(max_duration=60), None),
        (Guards(max_duration=59), "lasted 60 s, longer than --max_duration=59"),
        (Guards(drift_threshold=0.2), None),
        (Guards(fail_on_drift=True, drift_threshold=0.31), None),
        (Guards(fail_on_drift=True), "drifted: against the run before"),
    ],
)
def test_each_guard_stops_what_it_is_for(guards, says):
    sentences = check(guards, COUNTS, seconds=60.0, drift={"": DRIFTED})
    assert len(sentences) == (says is not None)
    assert says is None or says in sentences[0]


def failing(rows, unchanged=0, **reasons):
    """Counts of a run of which rows fail for some reasons."""
    failed = sum(reasons.values())
    out = rows - unchanged - failed
    return RunCounts(rows, 0, rows, out, failed, unchanged, 0, reasons)


@pytest.mark.parametrize(
    ("counts", "guards", "says"),
    [
        # Most of many new rows fail by one cause other than themselves.
        (failing(300, inference_failed=151), Guards(), "151 of 300 new rows failed by the model"),
        (failing(300, access_denied=299), Guards(), "failed by rights that are missing"),
        (failing(300, read_failed=299), Guards(), "failed by the machine or the store"),
        (failing(300, timeout=90, connection_failed=80), Guards(), "170 of 300 new rows failed by"),
        (failing(10_101, 10_000, connection_failed=51), Guards(), "51 of 101 new rows failed by"),
        # Half of them, few, causes that are not one, or what rows are to blame for.
        (failing(300, inference_failed=150), Guards(), None),
        (failing(100, inference_failed=99), Guards(), None),
        (failing(300, inference_failed=140, timeout=140), Guards(), None),
        (failing(300, not_found=150, blocked_host=149), Guards(), None),
        (failing(300, a_word_of_another_version=299), Guards(), None),
        # The limit of the user is the only one.
        (failing(300, inference_failed=300), Guards(max_error_rate=1), None),
        (failing(300, inference_failed=200), Guards(max_error_rate=0.7), None),
        (failing(300, inference_failed=200), Guards(max_error_rate=0.6), "200 of 300 rows failed"),
        # A limit on all rows does not hide that no new one has features.
        (failing(10_101, 10_000, timeout=101), Guards(max_error_rate=0.2), "101 of 101 new rows"),
        (failing(10_101, 10_000, timeout=70), Guards(max_error_rate=0.7), None),
        # What failed the night before fails every night.
        (failing(10_150, 9_990, timeout=150), Guards(failed_before={"timeout": 150}), None),
        (failing(10_150, 9_800, timeout=349), Guards(failed_before={"timeout": 150}), "199 of 200"),
        # Nothing comes of something.
        (failing(1, not_found=1), Guards(), "None of the 1 rows has features: 1 not_found"),
        (failing(3, 2, not_found=1), Guards(), None),
        (failing(3, not_found=3), Guards(max_error_rate=1), None),
        # Any row for which the environment is not complete.
        (failing(300, missing_library=1), Guards(), "1 rows need a library that is not installed"),
        (failing(300, missing_library=1), Guards(max_error_rate=0.5), None),
    ],
)
def test_a_run_that_tells_of_its_surroundings_is_not_committed(counts, guards, says):
    sentences = check(guards, counts, seconds=0.0, drift={})
    assert len(sentences) == (says is not None)
    assert says is None or says in sentences[0]
    own = guards.max_error_rate is None
    assert says is None or not own or "pass --max_error_rate=1" in sentences[0]


def test_a_broken_limit_names_the_commonest_reasons(tmp_path):
    counts = failing(15, **{f"reason_{i}": i for i in range(1, 6)})
    shard = tmp_path / "errors-00000-of-00001.jsonl"
    found = {"reason_5": "No\x1b[2J\nverified", "reason_4": "x" * 1000}
    lines = [{"uri": "u", "reason": reason, "message": text} for reason, text in found.items()]
    shard.write_text("\n".join(map(json.dumps, lines)))
    errors = ErrorShards(str(tmp_path), (str(shard),))
    (told,) = check(Guards(max_error_rate=0.1), counts, seconds=0.0, drift={}, errors=errors)
    assert told.endswith(
        r"allows: 5 reason_5; No\x1b[2J\nverified | 4 reason_4; "
        + "x" * 300
        + f" | 3 reason_3 | 2 more reasons. The rows: {tmp_path}/errors-*.jsonl."
    )
    shard.write_text("torn")
    (told,) = check(Guards(max_error_rate=0.1), counts, seconds=0.0, drift={}, errors=errors)
    assert "allows: 5 reason_5 | 4 reason_4 |" in told


def test_a_model_that_has_drifted_is_named():
    still = dataclasses.replace(DRIFTED, psi=0.0, mean_difference=0.0)
    guards = Guards(fail_on_drift=True)
    (said,) = check(guards, COUNTS, seconds=0.0, drift={"a": still, "b": DRIFTED})
    assert said.startswith("The features of b have drifted")


def test_no_rows_and_no_earlier_run_break_nothing_by_themselves():
    guards = Guards(max_error_rate=0.0, fail_on_drift=True)
    assert check(guards, NOTHING, seconds=0.0, drift={}) == []
    assert len(check(Guards(min_rows=1), NOTHING, seconds=0.0, drift={})) == 1


@pytest.fixture
def run(tmp_path):
    """Commits a run by hand, in a dataset of several."""

    def commit_run(name, health, *, guards=None, started=None, **changes):
        config = runs.made_otherwise(runs.config(str(tmp_path / name)), **changes)
        (tmp_path / name / ".staging").mkdir(parents=True)
        config = dataclasses.replace(
            config, guards=guards or Guards(), started=started or config.started
        )
        return runs.commit(config, [FEATURES, INDEX, ERRORS], 7, health=health)

    return commit_run


def age(tmp_path, name, seconds):
    path = tmp_path / name / "run.json"
    os.utime(path, (time.time() - seconds,) * 2)


def test_a_run_is_compared_with_the_latest_that_can_be(run, tmp_path):
    run("first", runs.health(1, shift=9))
    run("second", runs.health(2))
    run("other_model", runs.health(3), content_hash="other")
    run("other_preprocessing", runs.health(3), resize="pad")
    run("small", runs.health(4, rows=drift.MIN_ROWS - 1))
    run("damaged", runs.health(5))
    (tmp_path / "damaged" / "health.json").write_text("{")
    (tmp_path / "no_run").mkdir()
    (tmp_path / "no_run" / "run.json").write_text("[]")
    names = ("first", "second", "other_model", "other_preprocessing", "small", "damaged", "no_run")
    for number, name in enumerate(names):
        age(tmp_path, name, 100 - number)
    found = run("third", runs.health(6))["drift"]
    assert (found["run_id"], found["rows"], found["drifted"]) == ("second", 2000, False)
    assert 0 < found["psi"] < 0.1
    assert run("few", runs.health(7, rows=drift.MIN_ROWS - 1))["drift"] is None


def test_a_guard_that_compares_nothing_says_so(run, tmp_path, caplog):
    guards = Guards(fail_on_drift=True)
    first = run("first", runs.health(1), guards=guards)["guards"]["unchecked"]
    assert "no earlier run of this model and preprocessing has 50 rows" in first[0]
    assert first[0] in caplog.text
    (line,) = [
        line
        for line in inspection.summarize(latest_run(str(tmp_path)))
        if line.startswith("unchecked ")
    ]
    assert first[0] in line
    few = run("few", runs.health(2, rows=3), guards=guards)["guards"]["unchecked"]
    assert "the run has 3 rows with features, below 50" in few[0]
    assert run("second", runs.health(3), guards=guards)["guards"]["unchecked"] == []
    assert run("third", runs.health(4), content_hash="x")["guards"]["unchecked"] == []


def test_limits_on_size_do_not_hide_drift(run):
    run("first", runs.health(1))
    with pytest.raises(GuardError, match="drifted: against the run first"):
        run(
            "second",
            runs.health(2, shift=3),
            guards=Guards(fail_on_drift=True),
            max_bytes=7,
            max_pixels=7,
            allow_truncated=True,
        )


def test_drift_is_told_or_stops_the_commit(run, tmp_path):
    run("first", runs.health(1))
    told = run("second", runs.health(2, shift=1))
    assert told["drift"]["drifted"]
    assert any(
        line.startswith("drift     YES") for line in inspection.summarize(latest_run(str(tmp_path)))
    )
    metrics = (tmp_path / "second" / "metrics.prom").read_text()
    assert 'image_features_drifted{run_id="second",model="h"} 1' in metrics
    with pytest.raises(GuardError, match="drifted: against the run second") as stopped:
        run("third", runs.health(3, shift=3), guards=Guards(fail_on_drift=True))
    assert isinstance(stopped.value, CommitError)
    assert read_record(str(tmp_path / "third")) is None


def test_a_stopped_commit_leaves_its_sentences_for_this_launch_only(run, tmp_path):
    with pytest.raises(GuardError, match="--min_rows=8; is the manifest whole") as stopped:
        run("run", None, guards=Guards(min_rows=8, max_error_rate=0.1), started="2030-01-01T00:00Z")
    staging = RunLayout(str(tmp_path / "run")).staging
    sentences = recorded_broken(staging, "2030-01-01T00:00Z")
    assert len(sentences) == 2
    assert all(sentence in str(stopped.value) for sentence in sentences)
    assert recorded_broken(staging, "2031-01-01T00:00Z") == []
    record_broken(staging, "x", ["One."])
    assert recorded_broken(staging, "x") == ["One."]
    pathlib.Path(staging, "guard.json").write_text("torn")
    assert recorded_broken(staging, "x") == recorded_broken(str(tmp_path / "nowhere"), "x") == []


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for i in range(4):
        (directory / f"{i}.jpg").write_bytes(images.encode(images.noise(i)))
    (directory / "broken.jpg").write_bytes(b"")
    return directory


def test_a_guarded_run_goes_on_under_other_limits(extract, photos, capsys):
    guarded = extract(photos, "--max_error_rate=0.1", "--min_rows=9", code=5)
    said = capsys.readouterr().err
    assert "image-features: The run run is not committed: 1 of 5 rows failed" in said
    assert "--min_rows=9" in said and "other limits" in said
    assert read_record(str(guarded)) is None and (guarded / ".staging" / "guard.json").exists()
    assert extract(photos, "--max_error_rate=0.5") == guarded
    whole = extract(photos, run_id="whole")
    run = latest_run(str(guarded)).record
    assert run["health"]["rows"] == run["counts"]["rows_out"] == 4
    assert run["guards"]["max_error_rate"] == 0.5
    # Features that an earlier attempt has written count like new ones.
    assert (guarded / "health.json").read_bytes() == (whole / "health.json").read_bytes()
    assert inspection.verify(Run.read(str(guarded))) == []


def test_a_budget_commits_where_a_guard_does_not(extract, photos):
    run = extract(photos, "--max_error_rate=0.5", "--error_budget=0.1", code=3)
    assert latest_run(str(run)).record["counts"]["rows_failed"] == 1
