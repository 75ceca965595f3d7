"""The command `gc`: removes what a dataset does not need any more."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from image_features.errors import (
    EXIT_FAILED,
    EXIT_OK,
    RunHeldError,
    UnsoundRunError,
    UsageError,
)
from image_features.pipeline.argument_types import not_negative
from image_features.pipeline.cli.parsing import parse_with_beam
from image_features.pipeline.streams import complain, say, show
from image_features.system.paths import absolute

if TYPE_CHECKING:
    from image_features.pipeline.dataset.garbage import Garbage

HELP = "remove runs that were merged into others, and what died"
_HOUR = 3600.0
_DAY = 24 * _HOUR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own options."""
    parser.description = (
        "Removes runs that `compact` has merged into another one, attempts at runs that\n"
        "were not committed, and staging directories that were left behind. Nothing\n"
        "else in the dataset is touched."
    )
    parser.epilog = (
        "Beam's options for gs:// pass through. Exit codes: 0 done, 1 something could\n"
        "not be removed, 2 bad arguments."
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


def run(argv: list[str]) -> int:
    """Finds what is of no more use, removes it and says so.

    Raises:
      UsageError: there is no dataset, or it cannot be listed.
    """
    options, beam_options = parse_with_beam("gc", add_arguments, argv)
    from apache_beam.io.filesystems import FileSystems

    from image_features.pipeline.dataset.garbage import find_garbage, look_at, remove
    from image_features.pipeline.locations import explain
    from image_features.transforms.stores.retries import FetchError

    FileSystems.set_options(beam_options)
    now = time.time()
    try:
        contents = look_at(absolute(options.path))
        found = find_garbage(
            contents,
            merged_before=now - _HOUR * options.merged_hours,
            died_before=now - _DAY * options.died_days,
        )
        waiting = find_garbage(contents, merged_before=now, died_before=now)
    except UnsoundRunError:
        raise
    except (ValueError, OSError, FetchError) as error:
        raise UsageError(f"{options.path} cannot be cleaned: {explain(error)}.") from error
    failed = 0
    tell = show if options.dry_run else say
    for garbage in found:
        verb = "would remove" if options.dry_run else "removed"
        try:
            if not options.dry_run:
                remove(garbage)
        except RunHeldError as error:
            tell(f"{options.path}: {garbage.directory} is kept: {error}.")
        except Exception as error:  # Each file system has exceptions of its own.
            failed += 1
            complain(f"{garbage.directory} cannot be removed: {explain(error)}.")
        else:
            tell(f"{verb} {garbage.directory} ({garbage.why}, {garbage.bytes / 1e6:.1f} MB)")
    if not found:
        tell(f"{options.path}: nothing to remove{' yet' if waiting else ''}.")
    seen = {garbage.directory for garbage in found}
    _tell_waiting([garbage for garbage in waiting if garbage.directory not in seen], options)
    return EXIT_FAILED if failed else EXIT_OK


def _tell_waiting(waiting: Sequence[Garbage], options: argparse.Namespace) -> None:
    """Says what will be removed when its time has come."""
    died = [garbage for garbage in waiting if garbage.staging or garbage.is_file]
    merged = [garbage for garbage in waiting if garbage not in died]
    if merged:
        say(
            f"{options.path}: {len(merged)} merged runs are kept for {options.merged_hours:g} "
            "hours after the merging, since somebody may be reading them; --merged_hours=0 "
            "removes them."
        )
    if died:
        say(
            f"{options.path}: {len(died)} attempts are kept for {options.died_days:g} days after "
            "they last wrote, since somebody may take them up; --died_days=0 removes them."
        )
