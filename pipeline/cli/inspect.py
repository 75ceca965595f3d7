"""The command `inspect`: what is in a committed run, and whether its files are sound."""

from __future__ import annotations

import argparse
import json

from image_features.errors import EXIT_FAILED, EXIT_OK, UsageError
from image_features.pipeline.cli.parsing import parse
from image_features.pipeline.terminal import complain, say

HELP = "show what is in a run, and verify its checksums"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.description = (
        "Shows a committed run: counts, errors by reason, sample rows; verifies every\n"
        "file's checksum."
    )
    parser.epilog = "exit codes: 0 sound, 1 a file is not as committed, 2 no committed run there"
    parser.add_argument("path", help="A run's directory, or a dataset's: then its latest run.")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="Rows to show (1).")
    parser.add_argument("--no_verify", action="store_true", help="Do not read the files.")
    parser.add_argument("--json", action="store_true", help="Print run.json instead.")


def run(argv: list[str]) -> int:
    """Shows a run.

    Returns:
      0, or 1 if a file is not as it was committed.

    Raises:
      UsageError: there is no committed run, or it cannot be read.
    """
    options = parse("inspect", add_arguments, argv)
    from image_features.pipeline.dataset import inspection
    from image_features.pipeline.dataset.run import committed_runs, unreplaced
    from image_features.pipeline.dataset.series import Series

    try:
        runs = committed_runs(options.path)
        committed, series = runs[0], Series.of(unreplaced(runs))
        if options.json:
            print(json.dumps(committed.record, indent=2))
        else:
            for line in inspection.summarize(committed, series):
                say(line)
        problems = [] if options.no_verify else inspection.verify(committed)
        for problem in problems:
            complain(problem)
        if problems:
            return EXIT_FAILED
        if not options.json:
            for line in inspection.sample_rows(committed, options.samples):
                say(line)
            say("verified  " + ("not asked for" if options.no_verify else "every checksum"))
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.path} cannot be inspected: {error}") from error
    return EXIT_OK
