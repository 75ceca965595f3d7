"""The parsers of commands, whose complaints are one sentence; Beam's options stand beside ours."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from image_features.errors import UsageError
from image_features.pipeline.argument_types import positive
from image_features.pipeline.streams import show
from image_features.transforms.stores.uris import redact_text, redact_uri

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from image_features.pipeline.options import FeatureExtractorOptions


# Of single numbers argparse knows by itself that they are no options.
_NEGATIVE_NUMBERS = re.compile(r"-[\d.]+[^=]*,.*")


class OptionParser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(None if args is None else joined(args), namespace)

    def print_help(self, file: Any = None) -> None:
        show(self.format_help().rstrip("\n"), exact=True)


def joined(argv: Sequence[str]) -> list[str]:
    """Writes `--input_range -1,1` as `--input_range=-1,1`: argparse takes -1,1 for options."""
    spelled: list[str] = []
    for argument in argv:
        before = spelled[-1] if spelled else ""
        if _NEGATIVE_NUMBERS.fullmatch(argument) and before.startswith("--") and "=" not in before:
            spelled[-1] = f"{before}={argument}"
        else:
            spelled.append(argument)
    return spelled


AddArguments = Callable[[argparse.ArgumentParser], None]


def make_parser(command: str, add_arguments: AddArguments) -> OptionParser:
    """Makes the parser of everything that follows a command's name, apart from Beam's options."""
    parser = OptionParser(
        prog=f"image-features {command}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    return parser


def parse(command: str, add_arguments: AddArguments, argv: Sequence[str]) -> argparse.Namespace:
    """Parses a command's arguments.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    return make_parser(command, add_arguments).parse_args(list(argv))


def parse_with_beam(
    command: str, add_arguments: AddArguments, argv: Sequence[str]
) -> tuple[argparse.Namespace, PipelineOptions]:
    """Parses a command's own arguments, and takes what they leave as Beam's.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = make_parser(command, add_arguments)
    options, rest = parser.parse_known_args(list(argv))
    _check_known(rest, command, _beams_options(), list(parser._option_string_actions))
    return options, PipelineOptions(rest)


def parse_extract(
    argv: Sequence[str],
) -> tuple[FeatureExtractorOptions, PipelineOptions]:
    """Parses the arguments of `extract`, Beam's among them.

    Returns:
      Our options, and all of them for Beam without secrets: engines show a job's options to
      everybody. They are not told --notify at all, since any part of that address may be one.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    from image_features.pipeline.options import FeatureExtractorOptions

    argv = joined(argv)
    _check_known(argv, "extract", [FeatureExtractorOptions, *_beams_options()])
    options = PipelineOptions(list(argv)).view_as(FeatureExtractorOptions)
    secret = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    secret.add_argument("--notify")
    for name in ("--input", "--model"):
        secret.add_argument(name, action="append", default=[])
    given, shown = secret.parse_known_args(list(argv))
    shown += [f"--input={redact_uri(location)}" for location in given.input]
    shown += [f"--model={redact_text(redact_uri(handle))}" for handle in given.model]
    return options, PipelineOptions(shown)


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
        bare = [option.lstrip("-") for option in known]  # All are alike in their dashes.
        close = difflib.get_close_matches(name.lstrip("-"), bare, 1)
        hint = f"did you mean --{close[0]}?" if close else f"see image-features {command} --help."
        # The value is not repeated, since it may be a secret.
        raise UsageError(f"Unknown option {name!r}: {hint}")


def _beams_options() -> list[type[PipelineOptions]]:
    from apache_beam.options.pipeline_options import PipelineOptions

    # Tests and other people's code may define options too, which argparse would call conflicts.
    return [
        options
        for options in PipelineOptions.__subclasses__()
        if options.__module__.startswith("apache_beam.")
    ]


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """Adds the option that tells how log lines look."""
    parser.add_argument(
        "--log_format", choices=["text", "json"], default="text", help="Of the log (text)."
    )


def add_merged_shards(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Adds the options that tell how the rows of several runs are divided.

    Args:
      parser: The parser.
      what: What a shard is called, as "file".
    """
    parser.add_argument(
        "--num_shards",
        type=positive,
        metavar="N",
        help=f"A fixed number of {what}s (default: of the largest run, doubled until a {what} has "
        "no more than twice --images_per_shard rows).",
    )
    parser.add_argument(
        "--images_per_shard",
        type=positive,
        default=10_000,
        metavar="N",
        help=f"Rows a {what} may hold (10000).",
    )
