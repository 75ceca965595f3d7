"""The files of deploy/dataflow, read for tests, and the options of `extract`."""

import json
import pathlib

from image_features.pipeline.cli.parsing import OptionParser, parse_extract
from image_features.pipeline.options import FeatureExtractorOptions

ROOT = pathlib.Path(__file__).parents[2]
HERE = ROOT / "deploy" / "dataflow"
METADATA = json.loads((HERE / "metadata.json").read_text())
PARAMETERS = {parameter["name"]: parameter for parameter in METADATA["parameters"]}
REQUIRED = {"input": "gs://b/images.csv", "output": "gs://b/features"}
# These make no sense where nobody waits, or are set by main.py.
NOT_FOR_TEMPLATES = {
    "error_budget",
    "log_format",
    "no_wait",
    "notify",
    "profile",
    "retry_errors",
    "wait",
}
# The list is that of "Failed to read the job file" at
# cloud.google.com/dataflow/docs/guides/troubleshoot-templates.
THE_LAUNCHERS = {"runner", "project", "job_name", "template_location", "region"}


def our_options():
    parser = OptionParser(add_help=False)
    FeatureExtractorOptions._add_argparse_args(parser)
    return {action.option_strings[0].removeprefix("--"): action for action in parser._actions}


OURS = our_options()


def parse(**parameters):
    return parse_extract([f"--{name}={value}" for name, value in parameters.items()])
