"""The command line: `image-features COMMAND`."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from image_features.models.quiet import import_tensorflow
from image_features.pipeline.errors import OptionParser, UsageError
from image_features.pipeline.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from image_features.pipeline.process import (
    limit_garbage_collection,
    limit_heaps,
    log_to_stderr,
    quieten,
)

_HELP = """usage: image-features COMMAND [options]

Extracts feature vectors from images in batches, at any scale.

commands:
  extract   read image URIs, write one feature vector an image as TFRecord shards
  inspect   show what is in a run, and verify its checksums
  compact   merge a dataset's runs into one, of each image the latest row
  gc        remove runs that were merged into others, and what died
  search    find the images of a dataset that are nearest to one
  report    write a page that shows a dataset: runs, errors, features, neighbours
  model     describe, convert, compare or fine-tune feature-vector modules
  samples   write sample photographs to try things with

`image-features COMMAND --help` tells more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 done, 1 failed, 2 bad arguments, 3 done with more failed rows than were allowed. A signal
      ends the process with 128 + its number.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "extract": _extract,
        "inspect": _inspect,
        "compact": _compact,
        "gc": _gc,
        "search": _search,
        "report": _report,
        "model": _model,
        "samples": _samples,
    }
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_HELP)
        return EXIT_OK if arguments else EXIT_USAGE
    quieten()
    log_to_stderr()
    try:
        command = commands.get(arguments[0])
        if command is None:
            raise UsageError(
                f"There is no command {arguments[0]!r}; the commands are {', '.join(commands)}."
            )
        return command(arguments[1:])
    except UsageError as error:
        print(f"image-features: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("image-features: interrupted before any work.", file=sys.stderr)
        return 128 + signal.SIGINT


def console() -> NoReturn:
    """The console script: `main`, then out, without waiting for fetches of a failed run."""
    limit_garbage_collection()
    limit_heaps()
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else EXIT_FAILED
    atexit._run_exitfuncs()  # Stops the job servers that Beam has started.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _extract(argv: list[str]) -> int:
    # Beam takes seconds to import, and must find the logs already quiet.
    from image_features.pipeline.cli.parsing import parse_extract, print_help

    if "-h" in argv or "--help" in argv:
        print_help()
        return EXIT_OK
    options, beam_options = parse_extract(argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.cli.extract import extract

    return extract(options, beam_options)


def _inspect(argv: list[str]) -> int:
    parser = OptionParser(
        prog="image-features inspect",
        description="Shows a committed run: counts, errors by reason, sample rows; verifies "
        "every file's checksum.",
        epilog="exit codes: 0 sound, 1 a file is not as committed, 2 no committed run there",
        allow_abbrev=False,
    )
    parser.add_argument("path", help="A run's directory, or a dataset's: then its latest run.")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="Rows to show (1).")
    parser.add_argument("--no_verify", action="store_true", help="Do not read the files.")
    parser.add_argument("--json", action="store_true", help="Print run.json instead.")
    options = parser.parse_args(argv)
    import_tensorflow()
    from image_features.pipeline.dataset import inspection
    from image_features.pipeline.dataset.layout import RunNotFoundError, find_run

    try:
        if options.json:
            print(json.dumps(find_run(options.path)[1], indent=2))
        else:
            for line in inspection.summarize(options.path):
                print(line)
        problems = [] if options.no_verify else inspection.verify(options.path)
        for problem in problems:
            print(f"image-features: {problem}", file=sys.stderr)
        if problems:
            return EXIT_FAILED
        if not options.json:
            for line in inspection.sample_rows(options.path, options.samples):
                print(line)
            print("verified  " + ("not asked for" if options.no_verify else "every checksum"))
    except (RunNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"{options.path} cannot be inspected: {error}") from error
    return EXIT_OK


def _compact(argv: list[str]) -> int:
    from image_features.pipeline.cli.compact import make_parser, run

    if "-h" in argv or "--help" in argv:
        make_parser().print_help()
        return EXIT_OK
    return run(argv)


def _gc(argv: list[str]) -> int:
    from image_features.pipeline.cli.gc import make_parser, run

    if "-h" in argv or "--help" in argv:
        make_parser().print_help()
        return EXIT_OK
    return run(argv)


def _search(argv: list[str]) -> int:
    from image_features.pipeline.cli.search import make_parser, run

    return run(make_parser().parse_args(argv))


def _report(argv: list[str]) -> int:
    from image_features.pipeline.cli.report import make_parser, run

    return run(make_parser().parse_args(argv))


def _model(argv: list[str]) -> int:
    from image_features.pipeline.cli.model import make_parser, run

    options = make_parser().parse_args(argv)
    import_tensorflow()
    return run(options)


def _samples(argv: list[str]) -> int:
    parser: argparse.ArgumentParser = OptionParser(
        prog="image-features samples",
        description="Writes scikit-image's photographs as JPEG files.",
    )
    parser.add_argument("directory")
    options = parser.parse_args(argv)
    from image_features.pipeline.cli.samples import write_samples

    try:
        paths = write_samples(options.directory)
    except ImportError as error:
        raise UsageError(
            "The sample photographs come with scikit-image: install the extra [samples]."
        ) from error
    print(f"{len(paths)} photographs in {options.directory}")
    return EXIT_OK
