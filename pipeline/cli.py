"""The command line: `image-features extract | inspect | model | samples`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from models.quiet import import_tensorflow
from pipeline.usage import OptionParser, UsageError

_M_ARENA_MAX = -8  # glibc's malloc.h.
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_HELP = """usage: image-features COMMAND [options]

Extracts feature vectors from images in batches, at any scale.

commands:
  extract   read image URIs, write one feature vector an image as TFRecord shards
  inspect   show what is in a run, and verify its checksums
  model     describe, convert, compare or fine-tune feature-vector modules
  samples   write sample photographs to try things with

`image-features COMMAND --help` tells more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 done, 1 failed, 2 bad arguments. A signal ends the process with 128 + its number.
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
    except KeyboardInterrupt:
        print("image-features: interrupted before any work.", file=sys.stderr)
        return 128 + signal.SIGINT


def console() -> NoReturn:
    """The console script: `main`, then out, without waiting for fetches of a failed run."""
    # Beam's imports make a hundred thousand objects that stay: looking through them for garbage
    # takes a tenth of a second each time.
    gc.set_threshold(50_000, 20, 100)
    _limit_heaps()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _limit_heaps() -> None:
    """Keeps glibc from giving every thread a heap, each of which keeps the room of some images."""
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # For worker processes; this one has begun.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))


def _quieten() -> None:
    # TensorFlow prints a page about the processor before any line of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(asctime)s %(message)s")
    logging.getLogger().setLevel(logging.ERROR)
    for name in ("pipeline", "transforms", "models"):
        logging.getLogger(name).setLevel(logging.INFO)


def _extract(argv: list[str]) -> int:
    # Beam takes seconds to import, and must find the logs already quiet.
    from pipeline.options import parse_extract, print_help

    if "-h" in argv or "--help" in argv:
        print_help()
        return EXIT_OK
    options, beam_options = parse_extract(argv)
    from pipeline import launch, profile
    from pipeline.layout import read_run

    if options.profile:
        profile.check(options.profile)
    try:
        config = launch.prepare(options, beam_options)
        start = time.monotonic()
        with (
            _stopped_by_signals(),
            profile.sampled(options.profile) if options.profile else contextlib.nullcontext(),
        ):
            result = launch.run(config, beam_options)
    except launch.RunFailedError as error:
        print(f"image-features: {error}", file=sys.stderr)
        return EXIT_FAILED
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
    stages = profile.stages(result)
    took = ", ".join(f"{name} {stage['seconds']:.2f} s" for name, stage in stages.items())
    print(f"  threads' time: {took}")
    if options.profile:
        print("\n".join(profile.write_stages(options.profile, stages, seconds)))
    return EXIT_OK


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ends the process at once on Ctrl-C or SIGTERM.

    An exception would be taken for a failing row's by the runner, and its threads cannot
    be joined. Nothing is left to save: without run.json no reader sees the run.
    """

    def stop(number: int, _: object) -> None:
        os.write(2, b"image-features: interrupted; the run is not committed.\n")
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    from pipeline.model_commands import make_parser, run

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
    from pipeline.samples import write_samples

    try:
        paths = write_samples(options.directory)
    except ImportError as error:
        raise UsageError(
            "The sample photographs come with scikit-image: install the extra [samples]."
        ) from error
    print(f"{len(paths)} photographs in {options.directory}")
    return EXIT_OK
