"""The command `inspect`: what is in a committed run, and whether its files are sound."""

from __future__ import annotations

import argparse
import json

from image_features.errors import EXIT_FAILED, EXIT_OK, UsageError
from image_features.pipeline.cli.parsing import parse
from image_features.pipeline.streams import complain, show

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
    from image_features.pipeline.locations import explain

    try:
        runs = committed_runs(options.path)
        committed, series = runs[0], Series.of(unreplaced(runs))
        lines = [json.dumps(committed.commit.to_json(whole=True), indent=2)] if options.json else []
        lines += [] if options.json else inspection.summarize(committed, series)
        problems = [] if options.no_verify else inspection.verify(committed)
        if not problems and not options.json:
            lines += inspection.sample_rows(committed, options.samples)
            how = "not asked for" if options.no_verify else "every checksum"
            lines.append(f"verified  {how}")
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.path} cannot be inspected: {explain(error)}.") from error
    for problem in problems:
        complain(problem)
    show(*lines, exact=options.json)
    return EXIT_FAILED if problems else EXIT_OK
