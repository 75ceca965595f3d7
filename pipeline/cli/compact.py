"""The command `compact`: a dataset's runs become one."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.argument_types import positive
from image_features.pipeline.cli.parsing import parse_with_beam
from image_features.pipeline.compact import config_of, fingerprint_of, shards_of
from image_features.pipeline.config import ExtractConfig, utc_now
from image_features.pipeline.dataset.layout import read_run
from image_features.pipeline.dataset.records import Run, comparable, current_runs
from image_features.pipeline.errors import OptionParser, UsageError
from image_features.pipeline.exits import EXIT_OK
from image_features.pipeline.launch import attempt as place
from image_features.pipeline.launch.job import run_job
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.runners import runners
from image_features.transforms.shards.index import INDEX_KIND


def make_parser() -> argparse.ArgumentParser:
    """The parser of everything after `image-features compact`, apart from Beam's options."""
    parser = OptionParser(
        prog="image-features compact",
        description="Merges the runs of a dataset that have the latest one's model and "
        "preprocessing into one run: of each image the latest row, and errors that no row has "
        "settled. Readers then read that run instead of them; `gc` removes them.",
        epilog="Beam options pass through, as with extract. Exit codes: 0 done, or nothing to do, "
        "1 failed, 2 bad arguments, 4 another launcher does it.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="DATASET", help="The dataset's directory; local or gs://.")
    parser.add_argument(
        "--run_id",
        metavar="ID",
        help="Name of the new run (default: compacted- and a hash of what is merged).",
    )
    parser.add_argument(
        "--num_shards",
        type=positive,
        metavar="N",
        help="A fixed number of feature shards (default: of the largest run, doubled until a shard "
        "has no more than twice --images_per_shard rows).",
    )
    parser.add_argument(
        "--images_per_shard",
        type=positive,
        default=10_000,
        metavar="N",
        help="Rows a shard may hold (10000).",
    )
    parser.add_argument(
        "--compression", choices=["none", "gzip"], default="none", help="Of the shards (none)."
    )
    parser.add_argument(
        "--log_format", choices=["text", "json"], default="text", help="Of the log (text)."
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Merges runs, and says what came of it.

    Returns:
      An exit code, as the parser's epilog tells them.

    Raises:
      UsageError: something asked for cannot be done; no work has started.
    """
    options, beam_options = parse_with_beam(make_parser(), argv)
    log_to_stderr(options.log_format)
    FileSystems.set_options(beam_options)
    config = _prepare(options, beam_options)
    if config is None:
        return EXIT_OK
    done = run_job(config, beam_options)
    if done.run is None or config.merging is None:
        return done.code
    counts = done.run["counts"]
    print(
        f"{config.layout.directory}: {counts['rows_out']} rows of {len(config.merging.run_ids)} "
        f"runs, {config.merging.rows - counts['rows_out']} replaced or removed, "
        f"{counts['rows_failed']} failed"
    )
    return done.code


def _prepare(options: argparse.Namespace, beam_options: PipelineOptions) -> ExtractConfig | None:
    started = utc_now()
    ours = beam_options.view_as(FeatureExtractorOptions)
    # Workers elsewhere have directories of their own.
    ours.output = options.path if "://" in options.path else os.path.abspath(options.path)
    ours.compression = options.compression
    runners.check(ours, beam_options)
    runs = _runs(ours.output)
    num_shards = options.num_shards or shards_of(runs, options.images_per_shard)
    mark = fingerprint_of(runs, num_shards, options.compression)
    # The same runs, merged by two at once or taken up after a crash, are the same run.
    ours.run_id = options.run_id or f"compacted-{mark}"
    found = place.find(ours)
    if found.standing is place.Standing.COMMITTED:
        record = read_run(found.layout.directory) or {}
        if not record.get("replaces"):
            raise UsageError(f"--run_id={found.run_id} is a run that was extracted; name another.")
        print(f"{found.layout.directory} is committed already.")
        return None
    if len(runs) == 1 and len(runs[0].files()) == (options.num_shards or len(runs[0].files())):
        print(f"{options.path}: nothing to merge.")
        return None
    try:
        config = config_of(runs, found.layout, found.run_id, num_shards, started)
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.path} cannot be merged: {place.why(error)}.") from error
    return dataclasses.replace(config, layout=place.enter(found, mark, started).layout)


def _runs(path: str) -> list[Run]:
    try:
        alone = read_run(path) is not None
        runs = comparable(current_runs(path))
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be merged: {place.why(error)}.") from error
    if alone:
        raise UsageError(f"{path} is one run; name the dataset that it is in.")
    for run_ in runs:
        if len(run_.files(INDEX_KIND)) != len(run_.files()):
            raise UsageError(
                f"The run {run_.directory} has no index, as of an earlier version: it cannot be "
                "merged; extract it anew."
            )
    return runs
