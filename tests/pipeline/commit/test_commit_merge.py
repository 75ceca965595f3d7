"""The commit of a merging, and which runs it replaces from then on."""

from __future__ import annotations

import os
import shutil

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import RunFailedError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.run import read_record
from image_features.pipeline.launch.job import run_job
from image_features.pipeline.launch.prepare_compaction import CompactionOptions, prepare_compaction
from image_features.pipeline.launch.work import Terms
from tests import datasets, images
from tests.datasets import compact, run_ids, vectors


def test_of_two_mergings_of_the_same_runs_one_counts(nights):
    beam_options = PipelineOptions([])
    late = prepare_compaction(CompactionOptions(str(nights), run_id="late"), beam_options)
    compact(nights)
    with pytest.raises(RunFailedError, match="was merged by another `compact` meanwhile"):
        run_job(late, beam_options, Terms())
    assert run_ids(nights) == ["all"]


def test_merged_runs_stay_replaced_when_the_one_they_became_goes(nights, nights_photos):
    compact(nights, "--run_id=first")
    images.write(nights_photos / "2.jpg", 104)
    datasets.extract(nights_photos, nights, "4", "--incremental")
    now = vectors(nights)
    compact(nights, "--run_id=second")
    assert set(read_record(str(nights / "second"))["replaces"]) == {"1", "2", "3", "4", "first"}
    shutil.rmtree(nights / "first")
    assert run_ids(nights) == ["second"]
    assert vectors(nights) == now
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert os.listdir(nights) == ["second"]


def test_names_may_be_used_again(nights):
    before = vectors(nights)
    gc = ["gc", str(nights), "--merged_hours=0"]
    for name, shards in (("a", 2), ("b", 4), ("a", 8)):
        compact(nights, f"--run_id={name}", f"--num_shards={shards}")
        assert run_ids(nights) == [name]
        assert cli.main(gc) == 0
        assert os.listdir(nights) == [name]
    assert vectors(nights) == before
