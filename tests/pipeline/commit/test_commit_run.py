import dataclasses
import datetime
import hashlib
import json
import math
import pathlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

from image_features.errors import CommitError
from image_features.pipeline.config import utc_now
from image_features.pipeline.dataset.run import read_record
from tests import runs
from tests.runs import ERRORS, FEATURES, INDEX


@pytest.fixture
def config(tmp_path):
    # In a dataset of its own, where it finds no earlier run.
    (tmp_path / "run" / ".staging").mkdir(parents=True)
    return runs.config(str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("shards", "rows_read", "duplicates"),
    [
        ([FEATURES, INDEX, ERRORS], 9, 1),
        ([FEATURES, INDEX, ERRORS], 7, 1),
        ([FEATURES, INDEX], 5, 0),
        ([ERRORS], 2, 0),
        ([FEATURES, dataclasses.replace(FEATURES, rows=0), ERRORS], 7, 0),
        ([FEATURES, ERRORS], 8, 1),
        ([FEATURES, dataclasses.replace(INDEX, rows=4), ERRORS], 8, 1),
    ],
)
def test_what_does_not_add_up_is_not_committed(config, shards, rows_read, duplicates):
    with pytest.raises(CommitError, match="not committed"):
        runs.commit(config, shards, rows_read, duplicates)
    assert read_record(config.layout.directory) is None


def test_what_adds_up_is(config):
    runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1)
    run = read_record(config.layout.directory)
    assert run["counts"] == {
        "rows_read": 8,
        "duplicates": 1,
        "rows_in": 7,
        "rows_out": 5,
        "rows_failed": 2,
        "rows_unchanged": 0,
        "rows_removed": 0,
        "failed_by_reason": {"not_found": 2},
    }


def test_a_commit_that_is_tried_again_finds_the_first_one(config):
    runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1)
    first = read_record(config.layout.directory)
    again = runs.commit(config, [FEATURES, ERRORS, INDEX], 8, 1)
    assert again == first == read_record(config.layout.directory)


def test_what_a_first_attempt_has_written_is_not_written_again(config):
    directory = pathlib.Path(config.layout.directory)

    def read():
        return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}

    runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    before = read()
    # Sums may differ in their last digits when an engine adds up again.
    runs.commit(config, [FEATURES, ERRORS, INDEX], 8, 1, runs.health(2))
    assert read() == before


def test_attempts_that_write_nothing_new_agree_on_the_time(config):
    first = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1)
    pathlib.Path(config.layout.path("run.json")).unlink()
    assert runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1) == first


def test_the_run_file_tells_of_the_features(config):
    run = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    assert run["health"]["rows"] == 2000
    assert run["health"]["norm"]["mean"] == pytest.approx(math.sqrt(3 * 26), rel=0.05)
    assert run["health"]["norm"]["percentiles"]["50"] == pytest.approx(math.sqrt(3 * 25), rel=0.05)
    assert run["drift"] is None
    assert run["guards"]["drift_threshold"] == 0.25
    assert run["duration_seconds"] >= 0
    kinds = {file["name"]: file["kind"] for file in run["files"]}
    assert (kinds["health.json"], kinds["metrics.prom"]) == ("health", "metrics")
    for file in run["files"]:
        if file["kind"] in ("health", "metrics"):
            data = pathlib.Path(config.layout.path(file["name"])).read_bytes()
            assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    health = json.loads(pathlib.Path(config.layout.path("health.json")).read_text())
    assert health["dimensions"]["mean"] == pytest.approx([5, 5, 5], abs=0.2)
    assert health["dimensions"]["std"] == pytest.approx([1, 1, 1], abs=0.1)
    assert sum(health["norm_histogram"]["counts"]) == 2000


def test_prometheus_reads_the_metrics(config):
    name = 'a"b\\c'
    config = runs.made_otherwise(config, content_hash=name)
    run = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    text = pathlib.Path(config.layout.path("metrics.prom")).read_text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(family.documentation and family.type == "gauge" for family in families.values())
    values = {}
    for family in families.values():
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("run_id"), labels.pop("model")) == ("run", name)
            values[family.name, *labels.values()] = sample.value
    short = "image_features_"
    assert values[f"{short}rows_in",] == 7
    assert values[f"{short}rows_failed_by_reason", "not_found"] == 2
    assert values[f"{short}duration_seconds",] == run["duration_seconds"]
    assert values[f"{short}health_norm", "0.5"] == run["health"]["norm"]["percentiles"]["50"]
    started = datetime.datetime.fromtimestamp(
        values[f"{short}started_timestamp_seconds",], datetime.UTC
    )
    assert started.isoformat() == config.started


def test_another_jobs_commit_is_not_replaced(config):
    runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1)
    first = read_record(config.layout.directory)
    with pytest.raises(CommitError, match="written by another job"):
        runs.commit(dataclasses.replace(config, started=utc_now()), [ERRORS, INDEX, FEATURES], 8, 1)
    assert read_record(config.layout.directory) == first
