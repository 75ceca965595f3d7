"""What is done with a whole dataset in one process, for `benchmarks.billion`.

Each case is a function of the dataset's directory that returns what it has found.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import billion_dataset
from image_features.pipeline.config import RunConfig, utc_now
from image_features.pipeline.dataset.file_list import Commit, FileList
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.run import Run, committed_runs, current_runs
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.shards.index import INDEX_KIND


def read(dataset: str) -> str:
    """Reads the commits of all runs, as every command does first."""
    runs = committed_runs(dataset)
    return f"{sum(run.rows for run in runs)} rows, {sum(len(run.files()) for run in runs)} shards"


def inspect(dataset: str) -> str:
    """Prints what `inspect --no_verify` does."""
    from image_features.pipeline.dataset.inspection import sample_rows, summarize

    runs = committed_runs(dataset)
    return f"{len([*summarize(runs[0]), *sample_rows(runs[0], 1)])} lines"


def inspect_json(dataset: str) -> str:
    """Prints what `inspect --json` does."""
    return f"{len(json.dumps(committed_runs(dataset)[0].commit.to_json(whole=True)))} characters"


def incremental(dataset: str) -> str:
    """Plans a night that goes on from all runs, to the graph that is submitted."""
    import apache_beam as beam

    from image_features.pipeline.dataset.known_runs import all_runs, current_beside, known_files
    from image_features.pipeline.dataset.series import check_fit, fitting
    from image_features.transforms.images.fetcher import FetchPolicy
    from image_features.transforms.skip_known import Known, SkipKnown
    from image_features.transforms.stores.http import HttpPolicy

    current = current_beside(all_runs(dataset), "new")
    check_fit(current, billion_dataset.provenance())
    known = Known(known_files(fitting(current, billion_dataset.provenance())))
    staging = pathlib.Path(f"{dataset}.staging")
    staging.mkdir()
    pipeline = beam.Pipeline()
    refs, errors = (pipeline | name >> beam.Create([]) for name in ("Refs", "Errors"))
    rows = {"refs": (refs,), "errors": errors}
    _ = rows | SkipKnown(known=known.kept_in(str(staging)), fetch=FetchPolicy(http=HttpPolicy()))
    return f"{len(known.files)} files, {_size(pipeline)}"


def compact(dataset: str) -> str:
    """Plans the merging of all runs, to the graph that is submitted."""
    import apache_beam as beam

    from image_features.pipeline.compact import compaction_of, shards_of

    runs = current_runs(dataset)
    num_shards = shards_of(runs, 10_000)
    layout = RunLayout(f"{dataset}.merged/all")
    pathlib.Path(layout.staging).mkdir(parents=True)
    compaction = compaction_of(runs, layout, num_shards, utc_now())
    pipeline = beam.Pipeline()
    compaction.build(pipeline)
    return f"{num_shards} shards, {_size(pipeline)}"


def gc(dataset: str) -> str:
    """Looks for garbage."""
    from image_features.pipeline.dataset.garbage import find_garbage, look_at

    now = time.time()
    found = find_garbage(look_at(dataset), merged_before=now, died_before=now)
    return f"{len(found)} found"


def load(dataset: str) -> str:
    """Opens the dataset, and takes a batch; of several runs, the latest."""
    from image_features.pipeline.dataset.reading import load

    batch = next(iter(load(committed_runs(dataset)[0].directory, batch_size=256)))
    return f"{len(batch['image/key'])} rows"


def masks(dataset: str) -> str:
    """Finds which rows of the runs' first shards are seen, as every reader of several runs does."""
    from image_features.pipeline.dataset.latest_rows import LatestRows

    runs = [_first_shard(run) for run in committed_runs(dataset)]
    LatestRows(runs)
    return f"{sum(run.files().total('rows') for run in runs)} keys"


def report(dataset: str) -> str:
    """Gathers what a report says of the first shard of the latest run."""
    from image_features.pipeline.report.gather import gather

    run = _first_shard(committed_runs(dataset)[0])
    return f"{gather(dataset, [run], 1000).models[0].health[0].vectors.rows} rows"


def _first_shard(run: Run) -> Run:
    """Returns a run as if it had one shard, the only one whose digest is true."""
    files = FileList.of([run.files(kind)[0] for kind in ("features", INDEX_KIND)])
    return Run(run.directory, Commit(run.commit.record, files))


def commit(dataset: str) -> str:
    """Commits a run with all shards of the dataset, and tidies up."""
    from image_features.pipeline.commit.commit_run import commit as commit_run
    from image_features.pipeline.commit.counts import RowTally
    from image_features.pipeline.commit.tidy_up import remove_leftovers
    from image_features.transforms.measure_features import FeatureStatistics

    count = sum(1 for _ in pathlib.Path(dataset).glob("*/features-*"))
    stock = billion_dataset.Stock(pathlib.Path(f"{dataset}.committed.stock"), 100)
    layout = RunLayout(f"{dataset}.committed/run", fingerprint="0" * 16)
    stock.place(pathlib.Path(layout.directory), [])
    pathlib.Path(layout.staging).mkdir()
    config = RunConfig(layout, utc_now(), ShardPolicy(count), billion_dataset.provenance())
    files = stock.entries(count, "run")
    vectors = np.ones((2, billion_dataset.WIDTH), np.float32)
    health = {"": FeatureStatistics.of(vectors)}
    record = commit_run(config, files, RowTally(100 * count, count), health)
    remove_leftovers(record, layout)
    return f"{count} shards, {pathlib.Path(layout.path('run.json')).stat().st_size} bytes"


def _size(pipeline: Any) -> str:
    return f"graph of {len(pipeline.to_runner_api().SerializeToString()) / 1e6:.1f} MB"


CASES: Mapping[str, Callable[[str], str]] = {
    "read": read,
    "inspect": inspect,
    "inspect_json": inspect_json,
    "incremental": incremental,
    "compact": compact,
    "gc": gc,
    "load": load,
    "masks": masks,
    "report": report,
    "commit": commit,
}
