"""The command `compact`: the runs of a dataset become one."""

from __future__ import annotations

import argparse

from image_features.errors import EXIT_OK
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import add_log_format, add_merged_shards, parse_with_beam
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say

HELP = "merge a dataset's runs into one, of each image the latest row"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own options."""
    parser.description = (
        "Merges the runs of a dataset that have the latest one's model and\n"
        "preprocessing into one run: of each image the latest row, and errors that no\n"
        "row has settled. Readers then read that run instead of them; `gc` removes\n"
        "them."
    )
    parser.epilog = (
        "Beam options pass through, as with extract. Exit codes: 0 done, or nothing to\n"
        "do, 1 failed, 2 bad arguments, 4 another launcher does it."
    )
    parser.add_argument("path", metavar="DATASET", help="The dataset's directory; local or gs://.")
    parser.add_argument(
        "--run_id",
        metavar="ID",
        help="Name of the new run (default: compacted- and a hash of what is merged).",
    )
    add_merged_shards(parser, what="feature shard")
    parser.add_argument(
        "--compression",
        choices=["none", "gzip"],
        default="none",
        help="Of the shards (none).",
    )
    add_log_format(parser)


def run(argv: list[str]) -> int:
    """Merges runs, and says what came of it.

    Returns:
      0 done, or nothing to do.

    Raises:
      ImageFeaturesError: the merging could not be prepared, or failed.
    """
    options, beam_options = parse_with_beam("compact", add_arguments, argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.launch.job import run_job
    from image_features.pipeline.launch.prepare import AlreadyCommitted
    from image_features.pipeline.launch.prepare_compaction import (
        CompactionOptions,
        prepare_compaction,
    )
    from image_features.pipeline.launch.work import Terms

    work = prepare_compaction(
        CompactionOptions(
            path=options.path,
            run_id=options.run_id,
            num_shards=options.num_shards,
            images_per_shard=options.images_per_shard,
            compression=options.compression,
        ),
        beam_options,
    )
    if work is None:
        say(f"{options.path}: nothing to merge.")
        return EXIT_OK
    if isinstance(work, AlreadyCommitted):
        say(work)
        return EXIT_OK
    again = command_again("compact", argv, work.run.run_id)
    outcome = run_job(work, beam_options, Terms(again=again))
    if outcome.run is None or outcome.result is None:
        say(AlreadyCommitted(work.run.layout.directory))
        return EXIT_OK
    counts, lineage = outcome.run.counts, work.lineage
    say(
        f"{outcome.run.directory}: {counts.rows_out} rows of {len(lineage.run_ids)} "
        f"runs, {lineage.rows - counts.rows_out} replaced or removed, "
        f"{counts.rows_failed} failed"
    )
    return EXIT_OK
