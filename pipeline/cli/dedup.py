"""The command `dedup`: which images of a dataset are there more than once."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK
from image_features.pipeline.argument_types import cosine, whole
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import add_log_format, parse
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say, show

if TYPE_CHECKING:
    from image_features.pipeline.dedup.result import Result

HELP = "find the images of a dataset that are there more than once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.description = (
        "Finds the images of a dataset that are there more than once, as the same file or nearly\n"
        "the same picture. Writes their groups, a manifest of what is kept of them and all other\n"
        "images, a manifest of what is dropped, and a page with pictures. Nothing is removed."
    )
    parser.epilog = (
        "exit codes: 0 done, or done before, 1 failed, 2 bad arguments, 4 another launcher does it"
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="The dataset's directory, or a run's; local or gs://."
    )
    parser.add_argument("output", metavar="OUT", help="A new directory, local or gs://.")
    parser.add_argument(
        "--threshold",
        type=cosine,
        default=0.98,
        metavar="COSINE",
        help="The cosine of two vectors from which their images are near duplicates (0.98).",
    )
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="The model whose vectors are compared, where a run has several.",
    )
    parser.add_argument(
        "--since",
        metavar="EARLIER_OUT",
        help="The directory of an earlier night: what it has kept stays kept, and only new images "
        "are compared, with all.",
    )
    parser.add_argument(
        "--samples",
        type=whole,
        default=100,
        metavar="N",
        help="Groups on the page, the largest; their images are read again, from where they were. "
        "0 writes no page (100).",
    )
    parser.add_argument(
        "--allow_private_hosts",
        action="store_true",
        help="Read images for the page from loopback and private addresses too.",
    )
    parser.add_argument("--json", action="store_true", help="Print dedup.json when done.")
    add_log_format(parser)


def run(argv: list[str]) -> int:
    """Finds the duplicates, and says how many there are.

    Returns:
      0 done, or done before.

    Raises:
      ImageFeaturesError: it could not be prepared, or failed.
    """
    options = parse("dedup", add_arguments, argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.dedup.job import run_dedup
    from image_features.pipeline.dedup.prepare import DedupOptions, prepare_dedup
    from image_features.pipeline.dedup.result import Result
    from image_features.pipeline.launch.prepare import AlreadyCommitted
    from image_features.pipeline.launch.work import Terms

    work = prepare_dedup(
        DedupOptions(
            dataset=options.dataset,
            output=options.output,
            threshold=options.threshold,
            features=options.features,
            since=options.since,
            samples=options.samples,
            private_hosts=options.allow_private_hosts,
        )
    )
    if isinstance(work, AlreadyCommitted):
        result = Result.read(work.directory)
        if not options.json or result is None:
            say(work)
            return EXIT_OK
    else:
        result = run_dedup(work, Terms(again=command_again("dedup", argv)))
    if options.json:
        show(json.dumps(result.record, indent=2), exact=True)
    else:
        _summarize(result)
    return EXIT_OK


def _summarize(result: Result) -> None:
    counts, directory = result.counts, result.directory
    zeros = f"; {counts.zero_rows} vectors have no direction" if counts.zero_rows else ""
    again = [f"--input={directory}/keep.jsonl", *result.record["input_options"]]
    say(
        f"{directory}: of {counts.rows} images {counts.kept} are kept and {counts.dropped} "
        f"dropped, {counts.same_files} as the same file and {counts.near} as near duplicates, in "
        f"{counts.groups} groups{zeros}",
        f"  what is kept: image-features extract {shlex.join(again)} ...",
    )
