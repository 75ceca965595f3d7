"""What the launcher of the Flex Template runs: `extract`, with the template's parameters.

The launcher passes them as --name=value, beside options of its own such as --runner, --project,
--region, --job_name, --temp_location and --template_location.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.parsing import OptionParser
from image_features.pipeline.options import FeatureExtractorOptions

OF_EACH_MODEL = ("--model", "--input_range", "--mean", "--std")


def arguments(passed: Sequence[str]) -> Iterator[str]:
    """The arguments of `extract`.

    Every parameter has a value, which flags do not take: --name=true becomes --name, and
    --name=false becomes --no_name or, where there is no such flag, nothing. An empty value is
    that of a field nobody filled in.
    """
    options = _options()
    for argument in passed:
        name, given, value = argument.partition("=")
        if not name.startswith("--"):
            yield argument
        elif name not in options:
            # Beam passes over options it does not know, and `extract` refuses them; parameters
            # are checked against metadata.json before, so that this is one of the launcher's own.
            print(f"image-features: {name} is not an option and is left out.", file=sys.stderr)
        elif given and not value:
            continue
        elif name in OF_EACH_MODEL:
            # A parameter is given once: what is of each model but the first begins at its NAME=.
            yield from (f"{name}={text}" for text in re.split(r"\s+(?=[\w-]+=)", value.strip()))
        elif options[name].nargs == 0 and value.lower() == "true":
            yield name
        elif options[name].nargs == 0 and value.lower() == "false":
            opposite = f"--no_{name.removeprefix('--')}"
            if opposite in options:
                yield opposite
        else:
            yield argument


def _options() -> dict[str, argparse.Action]:
    parser = OptionParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in (FeatureExtractorOptions, *PipelineOptions.__subclasses__()):
        options._add_argparse_args(parser)
    return parser._option_string_actions


if __name__ == "__main__":
    # The launcher reads the severity of lines in JSON, and starts the job when this process ends.
    # Parts of Beam read sys.argv themselves.
    sys.argv[1:] = ["extract", "--log_format=json", *arguments(sys.argv[1:]), "--no_wait"]
    sys.exit(cli.main(sys.argv[1:]))
