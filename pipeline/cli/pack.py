"""The command `pack`: a collection of loose images becomes a few archives."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK
from image_features.pipeline.argument_types import positive
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.extract import notify_address
from image_features.pipeline.cli.outcome import judge, tell_failures
from image_features.pipeline.cli.parsing import make_parser, parse_with_beam
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say

if TYPE_CHECKING:
    from image_features.pipeline.dataset.pack import Pack

HELP = "copy images into archives (tar or Parquet), so that each is fetched once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own options."""
    from image_features.pipeline.image_options import add_fetch
    from image_features.pipeline.options import add_forms, add_job, add_limits, add_secrets

    parser.usage = "image-features pack MANIFEST [MANIFEST ...] OUT [options] [Beam options]"
    parser.description = (
        "Copies the images that manifests name into archives of many images each, with\n"
        "their columns. The archives are an input like any other: extract, search and\n"
        "report read them, and so do webdataset and datasets.\n\n"
        "Nothing is decoded. Rows that fail become error rows with a reason. The archives\n"
        "are whole when OUT/pack.json is there, and every row is accounted for."
    )
    parser.epilog = (
        "Beam options pass through, as with extract. Exit codes: 0 done, or done before,\n"
        "1 failed, 2 bad arguments, 3 done but over --error_budget, 4 another launcher does\n"
        "it, 5 a guard stopped the commit, 130 or 143 interrupted"
    )
    parser.add_argument(
        "input",
        metavar="MANIFEST",
        nargs="+",
        help="What --input of extract takes: a manifest, a directory of images, a glob, or "
        "archives to pack anew; local, gs:// or http(s)://.",
    )
    parser.add_argument(
        "output", metavar="OUT", help="The directory of the archives, a new one; local or gs://."
    )
    parser.add_argument(
        "--format",
        choices=["tar", "parquet"],
        default="tar",
        help="tar is WebDataset's: KEY.jpg and KEY.json for each image; parquet has a column of "
        "images as Hugging Face's datasets has it (tar).",
    )
    parser.add_argument(
        "--images_per_archive",
        type=positive,
        default=10_000,
        metavar="N",
        help="Images an archive holds on average (10000).",
    )
    add_secrets(parser)
    add_forms(parser.add_argument_group("input"))
    add_fetch(parser.add_argument_group("fetching"))
    add_limits(parser.add_argument_group("guards"))
    add_job(parser.add_argument_group("the job"))
    # What extract has beside these, and the examination of its input asks for.
    parser.set_defaults(retry_errors=None, incremental=False, version_column=None)


def run(argv: list[str]) -> int:
    """Packs images, and says what came of it.

    Returns:
      0 done (or submitted, with --no_wait), 3 done with more failed rows than --error_budget
      allows.

    Raises:
      ImageFeaturesError: the packing could not be prepared, or failed.
    """
    if "-h" in argv or "--help" in argv:
        make_parser("pack", add_arguments).print_help()
        return EXIT_OK
    options, beam_options = parse_with_beam("pack", add_arguments, argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.launch.job import run_job
    from image_features.pipeline.launch.notify import notify_commit
    from image_features.pipeline.launch.prepare import AlreadyCommitted
    from image_features.pipeline.launch.prepare_pack import prepare_pack
    from image_features.pipeline.launch.work import Terms

    begun = time.monotonic()
    address = notify_address(options.notify, wait=options.wait)
    work = prepare_pack(options, beam_options)
    if isinstance(work, AlreadyCommitted):
        say(work)
        return EXIT_OK
    terms = Terms(
        wait=options.wait,
        notify=address,
        deadline=begun + options.max_duration if options.max_duration else None,
        again=command_again("pack", argv),
    )
    outcome = run_job(work, beam_options, terms)
    if outcome.run is None:
        return EXIT_OK
    if outcome.result is None:
        say(AlreadyCommitted(outcome.run.directory))
        return EXIT_OK
    _summarize(outcome.run, outcome.seconds)
    if terms.notify:
        notify_commit(terms.notify, outcome.run.record)
    return judge(outcome.run.counts, options.error_budget)


def _summarize(pack: Pack, seconds: float) -> None:
    counts, archives = pack.counts, pack.files()
    size = sum(archive.bytes for archive in archives)
    say(
        f"{pack.directory}: {counts.rows_out} of {counts.rows_in} images in {len(archives)} "
        f"archives, {size / 2**20:.1f} MiB, {counts.rows_failed} failed, "
        f"{counts.rows_done / seconds:.1f} images/s"
    )
    tell_failures(pack)
