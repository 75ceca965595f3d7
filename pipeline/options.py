"""The options of `extract`, in Beam's own way, and their reading into a config."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.drift import DRIFT_THRESHOLD
from pipeline.usage import OptionParser, UsageError
from transforms.storage import is_http

MIB = 2**20


class FeatureExtractorOptions(PipelineOptions):
    """Options of the extraction; all of Beam's stand beside them."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        _add_input(parser.add_argument_group("input"))
        _add_output(parser.add_argument_group("output"))
        _add_model(parser.add_argument_group("model"))
        _add_decode(parser.add_argument_group("decoding and resizing"))
        _add_fetch(parser.add_argument_group("fetching"))
        _add_guards(parser.add_argument_group("guards"))
        _add_job(parser.add_argument_group("the job"))


def _add_input(group: Any) -> None:
    group.add_argument(
        "--input",
        action="append",
        metavar="LOCATION",
        default=None,
        help="A manifest (.txt, .csv, .tsv, .jsonl, .parquet, also .gz), a directory of images "
        "or a glob; local, gs:// or http(s)://. May be given several times.",
    )
    group.add_argument(
        "--input_format",
        choices=["auto", "text", "csv", "tsv", "jsonl", "parquet"],
        default="auto",
        help="The manifests' format where the suffix does not tell (auto).",
    )
    group.add_argument(
        "--uri_column",
        default=None,
        metavar="NAME",
        help="The column that holds the URIs (default: uri, url, image_uri, image_url, path, "
        "file or filename, the first there is).",
    )
    group.add_argument(
        "--column_types",
        default="",
        metavar="NAME:TYPE,...",
        help="Types of passed-through columns: int64, float32, bool, string or bytes, with [] "
        "for a list and ? for one that may be absent. CSV columns are strings unless named.",
    )
    group.add_argument(
        "--allow_empty",
        action="store_true",
        default=False,
        help="Commit an empty run when the input names no image, instead of refusing it.",
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--output",
        default=None,
        metavar="DIR",
        help="The dataset: each run is a directory DIR/<run_id>; local or gs://.",
    )
    group.add_argument(
        "--run_id", default=None, metavar="ID", help="Name of the run (default: the time, UTC)."
    )
    group.add_argument(
        "--num_shards",
        type=_positive,
        default=None,
        metavar="N",
        help="A fixed number of feature shards.",
    )
    group.add_argument(
        "--images_per_shard",
        type=_positive,
        default=None,
        metavar="N",
        help="Rows a shard holds on average, where --num_shards is not given (10000).",
    )
    group.add_argument(
        "--compression",
        choices=["none", "gzip"],
        default="none",
        help="Of the feature shards. TFDS opens uncompressed runs only (none).",
    )
    group.add_argument(
        "--keep_uri_secrets",
        action="store_true",
        default=False,
        help="Keep credentials and signatures in the URIs of records and errors shards, "
        "so that signed URLs can be tried again. Logs never hold them.",
    )
    group.add_argument(
        "--profile",
        default=None,
        metavar="DIR",
        help="Write what each stage took (stages.json) and a flame graph (flame.svg) there.",
    )


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model",
        default="builtin",
        metavar="HANDLE",
        help="An image feature-vector module, TF1 Hub or TF2 SavedModel: a directory, a "
        ".tar.gz, gs://, https://tfhub.dev/...; or `builtin`, the MobileNet V2 0.50 at 96x96 "
        "that comes with trained weights (builtin).",
    )
    group.add_argument(
        "--batch_size",
        type=_positive,
        default=32,
        metavar="N",
        help="Images in an inference batch (32).",
    )
    group.add_argument(
        "--engine",
        choices=["auto", "litert", "tensorflow"],
        default="auto",
        help="What runs the module: litert compiles it once, tensorflow runs it as it is and is "
        "the one for GPUs; auto is litert, or tensorflow if the module does not compile (auto).",
    )
    group.add_argument(
        "--precision",
        choices=["float32", "float16", "int8"],
        default="float32",
        help="float16 halves and int8 quarters the compiled model, at some accuracy; with "
        "--engine=tensorflow float16 is mixed precision on a GPU (float32).",
    )
    group.add_argument(
        "--cpu_threads",
        type=_positive,
        default=None,
        metavar="N",
        help="Threads that decode and compute within a worker process (one a core).",
    )


def _add_decode(group: Any) -> None:
    group.add_argument(
        "--resize",
        choices=["stretch", "center_crop", "pad"],
        default="stretch",
        help="How an image comes to the model's size (stretch).",
    )
    group.add_argument(
        "--decode",
        choices=["fast", "exact"],
        default="fast",
        help="fast lets the JPEG decoder scale down by whole steps first; exact decodes every "
        "pixel (fast).",
    )
    group.add_argument(
        "--allow_truncated",
        action="store_true",
        default=False,
        help="Take files that end early, their missing part grey, instead of failing them.",
    )
    group.add_argument(
        "--max_megapixels",
        type=_positive_float,
        default=64.0,
        metavar="N",
        help="Larger images fail before they are decoded (64).",
    )


def _add_fetch(group: Any) -> None:
    group.add_argument(
        "--max_megabytes",
        type=_positive_float,
        default=50.0,
        metavar="N",
        help="Larger files fail while they are read (50 MiB).",
    )
    group.add_argument(
        "--fetch_threads",
        type=_positive,
        default=256,
        metavar="N",
        help="Fetches at once within a worker, at most; it takes as many as it needs (256).",
    )
    group.add_argument(
        "--fetch_attempts",
        type=_positive,
        default=4,
        metavar="N",
        help="Tries for a fetch that fails in a way that may pass (4).",
    )
    group.add_argument(
        "--connect_timeout",
        type=_positive_float,
        default=10.0,
        metavar="SECONDS",
        help="For an http(s) connection (10).",
    )
    group.add_argument(
        "--read_timeout",
        type=_positive_float,
        default=30.0,
        metavar="SECONDS",
        help="Between two pieces of an http(s) answer (30).",
    )
    group.add_argument(
        "--total_timeout",
        type=_positive_float,
        default=120.0,
        metavar="SECONDS",
        help="For one http(s) attempt as a whole (120).",
    )
    group.add_argument(
        "--max_redirects", type=int, default=5, metavar="N", help="Followed at most (5)."
    )
    group.add_argument(
        "--allow_private_hosts",
        action="store_true",
        default=False,
        help="Fetch http(s) from loopback, private and link-local addresses too. Only for "
        "manifests you trust: they could name your own services.",
    )


def _add_guards(group: Any) -> None:
    group.add_argument(
        "--max_error_rate",
        type=_rate,
        default=None,
        metavar="RATE",
        help="Do not commit if a larger part of the rows failed, such as 0.05.",
    )
    group.add_argument(
        "--min_rows",
        type=_positive,
        default=None,
        metavar="N",
        help="Do not commit if fewer rows were read, as of a manifest that was cut short.",
    )
    group.add_argument(
        "--max_duration",
        type=_positive_float,
        default=None,
        metavar="SECONDS",
        help="Give up a run that lasts longer, from launch to commit: stop it, commit nothing.",
    )
    group.add_argument(
        "--fail_on_drift",
        action="store_true",
        default=False,
        help="Do not commit if the features differ from the latest run's of the same model and "
        "preprocessing by more than --drift_threshold; without it that is only told.",
    )
    group.add_argument(
        "--drift_threshold",
        type=_positive_float,
        default=DRIFT_THRESHOLD,
        metavar="X",
        help="What is drift: a population stability index of the vectors' norms above it, or "
        "means that differ by so many standard deviations, averaged over dimensions; and in both "
        "cases more than chance explains (0.25, a major shift by convention).",
    )


def _add_job(group: Any) -> None:
    group.add_argument(
        "--error_budget",
        type=_rate,
        default=None,
        metavar="RATE",
        help="Exit with 3 if a larger part of the rows failed, such as 0.01; the run is committed "
        "all the same.",
    )
    group.add_argument(
        "--notify",
        type=_web_address,
        default=None,
        metavar="URL",
        help="Post run.json there as JSON after the commit, or what went wrong after a failure.",
    )
    group.add_argument(
        "--wait",
        action="store_true",
        default=True,
        help="Wait for the commit (the default); --no_wait ends when the engine has the job.",
    )
    group.add_argument("--no_wait", dest="wait", action="store_false", help=argparse.SUPPRESS)
    group.add_argument(
        "--log_format",
        choices=["text", "json"],
        default="text",
        help="Of the lines on stderr; json is one object a line (text).",
    )


def _web_address(text: str) -> str:
    if not is_http(text):
        # Not repeated here: it may be a secret.
        raise argparse.ArgumentTypeError("the address does not begin with http:// or https://")
    return text


def _rate(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def parse_extract(argv: Sequence[str]) -> tuple[FeatureExtractorOptions, PipelineOptions]:
    """Parses the arguments of `extract`, Beam's among them.

    Raises:
      UsageError: an option is unknown or malformed.
    """
    parser = OptionParser(prog="image-features extract", add_help=False, allow_abbrev=False)
    for options in _all_options():
        options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(argv))
    if unknown:
        known = [name for name in parser._option_string_actions if name.startswith("--")]
        name = unknown[0].split("=", 1)[0]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else "see image-features extract --help."
        raise UsageError(f"Unknown option {unknown[0]!r}: {hint}")
    beam_options = PipelineOptions(list(argv))
    return beam_options.view_as(FeatureExtractorOptions), beam_options


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
        "3 committed but over --error_budget, 5 computed but a guard stopped the commit,\n"
        "130 interrupted",
    )
    FeatureExtractorOptions._add_argparse_args(parser)
    return parser.format_help()


def print_help() -> None:
    """Prints the help of `extract`."""
    sys.stdout.write(extract_help())
