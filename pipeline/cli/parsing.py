"""The command line of `extract`: its options and all of Beam's, and what is said of a wrong one."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.errors import OptionParser, UsageError
from image_features.pipeline.options import FeatureExtractorOptions


def parse_extract(argv: Sequence[str]) -> tuple[FeatureExtractorOptions, PipelineOptions]:
    """Parses the arguments of `extract`, Beam's among them.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    _check_known(argv, "extract", _all_options())
    beam_options = PipelineOptions(list(argv))
    return beam_options.view_as(FeatureExtractorOptions), beam_options


def parse_with_beam(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, PipelineOptions]:
    """Parses a command's own arguments, and what they leave as Beam's.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    options, rest = parser.parse_known_args(list(argv))
    theirs = [options for options in _all_options() if options is not FeatureExtractorOptions]
    _check_known(rest, parser.prog.split()[-1], theirs, list(parser._option_string_actions))
    return options, PipelineOptions(rest)


def _check_known(
    argv: Sequence[str],
    command: str,
    classes: Sequence[type[PipelineOptions]],
    more: Sequence[str] = (),
) -> None:
    parser = OptionParser(prog=f"image-features {command}", add_help=False, allow_abbrev=False)
    for options in classes:
        options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(argv))
    if unknown:
        known = [*parser._option_string_actions, *more]
        name = unknown[0].split("=", 1)[0]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"see image-features {command} --help."
        raise UsageError(f"Unknown option {unknown[0]!r}: {hint}")


def _all_options() -> list[type[PipelineOptions]]:
    found: list[type[PipelineOptions]] = []
    for options in PipelineOptions.__subclasses__():
        # Test modules and others' code may subclass too; the same flag twice is Beam's own.
        if options is FeatureExtractorOptions or options.__module__.startswith("apache_beam."):
            found.append(options)
    return found


def extract_help() -> str:
    """The help of `extract`, without Beam's two hundred options."""
    parser = OptionParser(
        prog="image-features extract",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="image-features extract --input=LOCATION --output=DIR [options] [Beam options]",
        description="Extracts one feature vector for every image that the input names.\n\n"
        "Rows that fail become error rows with a reason; the run goes on. Readers see the run\n"
        "once OUT/<run_id>/run.json is there, when every row is accounted for.",
        epilog="Beam options pass through, such as --runner, --direct_num_workers,\n"
        "--direct_running_mode, --temp_location. Without --runner the run stays on this machine:\n"
        "in this process, or in one for every four cores.\n"
        "\n"
        "exit codes: 0 committed (or submitted, with --no_wait), 1 failed, 2 bad arguments,\n"
        "3 committed but over --error_budget, 4 another launcher works on the run,\n"
        "5 computed but a guard stopped the commit, 130 or 143 interrupted",
    )
    FeatureExtractorOptions._add_argparse_args(parser)
    return parser.format_help()


def print_help() -> None:
    """Prints the help of `extract`."""
    sys.stdout.write(extract_help())
