"""The command `gc`: removes what a dataset does not need any more."""

from __future__ import annotations

import argparse
import os
import sys
import time

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.argument_types import not_negative
from image_features.pipeline.cli.parsing import parse_with_beam
from image_features.pipeline.dataset.claim import HeldError
from image_features.pipeline.dataset.garbage import UnsoundRunError, find_garbage, remove
from image_features.pipeline.errors import OptionParser, UsageError
from image_features.pipeline.exits import EXIT_FAILED, EXIT_OK
from image_features.pipeline.launch import attempt as place
from image_features.transforms.stores.retries import FetchError

_HOUR = 3600.0
_DAY = 24 * _HOUR


def make_parser() -> argparse.ArgumentParser:
    """The parser of everything after `image-features gc`, apart from Beam's options."""
    parser = OptionParser(
        prog="image-features gc",
        description="Removes runs that `compact` has merged into another one, attempts at runs "
        "that were not committed, and staging directories that were left behind. Nothing else in "
        "the dataset is touched.",
        epilog="Beam's options for gs:// pass through. Exit codes: 0 done, 1 something could not "
        "be removed, 2 bad arguments.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="DATASET", help="The dataset's directory; local or gs://.")
    parser.add_argument("--dry_run", action="store_true", help="Only tell what would be removed.")
    parser.add_argument(
        "--merged_hours",
        type=not_negative,
        default=24.0,
        metavar="HOURS",
        help="Keep merged runs so long after the merging: somebody may be reading them (24).",
    )
    parser.add_argument(
        "--died_days",
        type=not_negative,
        default=7.0,
        metavar="DAYS",
        help="Keep attempts so long after they last wrote: somebody may take them up (7).",
    )
    return parser


def run(argv: list[str]) -> int:
    """Finds what is of no more use, says so, and removes it.

    Raises:
      UsageError: there is no dataset, or it cannot be listed.
    """
    options, beam_options = parse_with_beam(make_parser(), argv)
    FileSystems.set_options(beam_options)
    path = options.path if "://" in options.path else os.path.abspath(options.path)
    now = time.time()
    try:
        found = find_garbage(
            path,
            merged_before=now - _HOUR * options.merged_hours,
            died_before=now - _DAY * options.died_days,
        )
    except UnsoundRunError as error:
        print(f"image-features: {error}", file=sys.stderr)
        return EXIT_FAILED
    except (ValueError, OSError, FetchError) as error:
        raise UsageError(f"{options.path} cannot be cleaned: {place.why(error)}.") from error
    failed = 0
    for garbage in found:
        verb = "would remove" if options.dry_run else "removed"
        try:
            if not options.dry_run:
                remove(garbage)
        except HeldError as error:
            print(f"{options.path}: {garbage.directory} is kept: {error}.")
        except Exception as error:  # Each file system has exceptions of its own.
            failed += 1
            print(
                f"image-features: {garbage.directory} cannot be removed: {place.why(error)}.",
                file=sys.stderr,
            )
        else:
            print(f"{verb} {garbage.directory} ({garbage.why}, {garbage.bytes / 1e6:.1f} MB)")
    if not found:
        print(f"{options.path}: nothing to remove.")
    return EXIT_FAILED if failed else EXIT_OK
