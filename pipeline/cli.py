"""The command line: `image-features extract | inspect | model | samples`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

from pipeline.options import OptionParser, UsageError, parse_extract, print_help

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_HELP = """usage: image-features COMMAND [options]

Extracts feature vectors from images in batches, at any scale.

commands:
  extract   read image URIs, write one feature vector an image as TFRecord shards
  inspect   show what is in a run, and verify its checksums
  model     describe a feature-vector module
  samples   write sample photographs to try things with

`image-features COMMAND --help` tells more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 done, 1 failed, 2 bad arguments, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "extract": _extract,
        "inspect": _inspect,
        "model": _model,
        "samples": _samples,
    }
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_HELP)
        return EXIT_OK if arguments else EXIT_USAGE
    _quieten()
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


def _quieten() -> None:
    # TensorFlow prints a page about the processor before any line of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(asctime)s %(message)s")
    for name in ("apache_beam", "absl", "tensorflow", "urllib3", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _extract(argv: list[str]) -> int:
    if "-h" in argv or "--help" in argv:
        print_help()
        return EXIT_OK
    options, beam_options = parse_extract(argv)
    # Beam and TensorFlow take seconds to import: not before the arguments are known good.
    from pipeline import launch
    from pipeline.layout import read_run

    try:
        config = launch.prepare(options, beam_options)
        start = time.monotonic()
        launch.run(config, beam_options)
    except launch.RunFailedError as error:
        print(f"image-features: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("image-features: interrupted; the run is not committed.", file=sys.stderr)
        sys.stderr.flush()
        # Worker threads of the in-process runner cannot be joined; nothing is left to save.
        os._exit(EXIT_INTERRUPTED)
    seconds = time.monotonic() - start
    run = read_run(config.layout.directory)
    if run is None:
        print(f"image-features: {config.layout.directory} has no commit.", file=sys.stderr)
        return EXIT_FAILED
    counts = run["counts"]
    print(
        f"{config.layout.directory}: {counts['rows_out']} of {counts['rows_in']} images, "
        f"{counts['rows_failed']} failed, {counts['rows_in'] / seconds:.1f} images/s"
    )
    for reason, count in counts["failed_by_reason"].items():
        print(f"  {count} {reason}")
    return EXIT_OK


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
    from pipeline import inspection
    from pipeline.layout import RunNotFoundError, find_run

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


def _model(argv: list[str]) -> int:
    parser = OptionParser(
        prog="image-features model",
        description="Works on feature-vector modules.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, parser_class=OptionParser)
    describe = actions.add_parser(
        "describe", help="Print a module's format, image size, features and hash as JSON."
    )
    describe.add_argument("handle", help="As extract's --model.")
    options = parser.parse_args(argv)
    from models.describe import describe as describe_module
    from models.errors import ModelError

    try:
        print(json.dumps(describe_module(options.handle), indent=2, default=str))
    except ModelError as error:
        raise UsageError(str(error)) from error
    return EXIT_OK


def _samples(argv: list[str]) -> int:
    parser: argparse.ArgumentParser = OptionParser(
        prog="image-features samples",
        description="Writes scikit-image's photographs as JPEG files.",
    )
    parser.add_argument("directory")
    options = parser.parse_args(argv)
    from pipeline.samples import write_samples

    try:
        paths = write_samples(options.directory)
    except ImportError as error:
        raise UsageError(
            "The sample photographs come with scikit-image: install the extra [samples]."
        ) from error
    print(f"{len(paths)} photographs in {options.directory}")
    return EXIT_OK
