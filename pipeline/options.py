"""The options of `extract`, declared as Beam declares its own.

The groups about a run are here; those about its images are in `image_options`.
"""

from __future__ import annotations

import argparse
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.argument_types import positive, positive_float, rate, web_address
from image_features.pipeline.config import DRIFT_THRESHOLD
from image_features.pipeline.image_options import add_decode, add_fetch, add_model
from image_features.transforms.manifests.formats import ManifestFormat


class FeatureExtractorOptions(PipelineOptions):
    """The options of an extraction; Beam's own stand beside them."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        _add_input(parser.add_argument_group("input"))
        _add_output(parser.add_argument_group("output"))
        _add_dataset(parser.add_argument_group("going on from committed runs"))
        add_model(parser.add_argument_group("model"))
        add_decode(parser.add_argument_group("decoding and resizing"))
        add_fetch(parser.add_argument_group("fetching"))
        _add_guards(parser.add_argument_group("guards"))
        add_job(parser.add_argument_group("the job"))


def _add_input(group: Any) -> None:
    group.add_argument(
        "--input",
        action="append",
        metavar="LOCATION",
        default=None,
        help="A manifest (.txt, .csv, .tsv, .jsonl, .parquet, also .gz), an archive of images "
        "(.tar, .zip, .parquet, .tfrecord), a directory of either or a glob; local, gs:// or "
        "http(s)://. May be given several times.",
    )
    add_forms(group)


def add_forms(group: Any) -> None:
    """Adds the options that tell how the input is read, whatever names it."""
    group.add_argument(
        "--input_format",
        choices=["auto", *map(str, ManifestFormat)],
        default="auto",
        help="The format of manifests and archives where the suffix does not tell (auto).",
    )
    group.add_argument(
        "--manifest_quotes",
        choices=["auto", "yes", "no"],
        default="auto",
        help="Whether fields may be in quotes, which then hold delimiters and line ends: in CSV, "
        "but not in TSV (auto), in both, or in neither.",
    )
    group.add_argument(
        "--image_member",
        default=None,
        metavar="EXT,EXT",
        help="The extensions of the members of .tar and .zip archives that are images, such as "
        "jpg,png (those of images).",
    )
    group.add_argument(
        "--image_column",
        default=None,
        metavar="NAME",
        help="The column of Parquet files that holds the images themselves (found where there is "
        "only one).",
    )
    group.add_argument(
        "--image_feature",
        default=None,
        metavar="NAME",
        help="The feature of the examples in TFRecord files that holds the images (found by the "
        "usual names, such as image/encoded).",
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
        type=positive,
        default=None,
        metavar="N",
        help="A fixed number of feature shards.",
    )
    group.add_argument(
        "--images_per_shard",
        type=positive,
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
    add_secrets(group)
    group.add_argument(
        "--profile",
        default=None,
        metavar="DIR",
        help="Write what each stage took (stages.json) and a flame graph (flame.svg) there.",
    )


def add_secrets(group: Any) -> None:
    """Adds the option that keeps what is secret in URIs."""
    group.add_argument(
        "--keep_uri_secrets",
        action="store_true",
        default=False,
        help="Keep credentials and signatures in the URIs of records and errors shards, "
        "so that signed URLs can be tried again. Logs never hold them.",
    )


def _add_dataset(group: Any) -> None:
    group.add_argument(
        "--incremental",
        action="store_true",
        default=False,
        help="Extract only images that are new or have changed: a row is done if a committed run "
        "in --output holds it with the same version of the image, model and preprocessing.",
    )
    group.add_argument(
        "--new_series",
        action="store_true",
        default=False,
        help="Where the run is of another model or preprocessing than the dataset's latest runs, "
        "or holds a column with another type: hide these from readers, instead of refusing it.",
    )
    group.add_argument(
        "--verify_content",
        action="store_true",
        default=False,
        help="With --incremental: read every image and compare its content, by its hash, instead "
        "of its version (an ETag, a generation, a file's size and time).",
    )
    group.add_argument(
        "--version_column",
        default=None,
        metavar="NAME",
        help="The manifests' column that tells an image's version, such as an ETag or a time of "
        "change: nothing is then asked of where the images are.",
    )
    group.add_argument(
        "--tombstone_removed",
        action="store_true",
        default=False,
        help="With --incremental: hide rows that the input does not name any more from readers of "
        "the dataset; without it they are only reported.",
    )
    group.add_argument(
        "--retry_errors",
        default=None,
        metavar="RUN",
        help="Take the rows that failed in a committed run as input: its id in --output, or its "
        "directory.",
    )


def add_limits(group: Any) -> None:
    """Adds the guards of everything that is committed."""
    group.add_argument(
        "--max_error_rate",
        type=rate,
        default=None,
        metavar="RATE",
        help="Do not commit if a larger part of the rows failed, such as 0.05. Without it a run is "
        "refused that gives nothing, or most of whose many new rows fail by the network, by "
        "rights, by the machine or by the model; 1 commits such a run too.",
    )
    group.add_argument(
        "--min_rows",
        type=positive,
        default=None,
        metavar="N",
        help="Do not commit if fewer rows were read, as of a manifest that was cut short.",
    )
    group.add_argument(
        "--max_duration",
        type=positive_float,
        default=None,
        metavar="SECONDS",
        help="Give up a run that lasts longer, from launch to commit: stop it, commit nothing.",
    )


def _add_guards(group: Any) -> None:
    add_limits(group)
    group.add_argument(
        "--max_removed_rate",
        type=rate,
        default=None,
        metavar="RATE",
        help="With --incremental: do not commit if the input does not name a larger part of the "
        "dataset's rows any more.",
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
        type=positive_float,
        default=DRIFT_THRESHOLD,
        metavar="X",
        help="What is drift: a population stability index of the vectors' norms above it, or "
        "means that differ by so many standard deviations, averaged over dimensions; and in both "
        "cases more than chance explains (0.25, a major shift by convention).",
    )


def add_job(group: Any) -> None:
    """Adds the options about the launch itself."""
    group.add_argument(
        "--error_budget",
        type=rate,
        default=None,
        metavar="RATE",
        help="Exit with 3 if a larger part of the rows failed, such as 0.01; the run is committed "
        "all the same.",
    )
    group.add_argument(
        "--notify",
        type=web_address,
        default=None,
        metavar="URL",
        help="Post run.json there as JSON after the commit, or what went wrong after a failure "
        "(the variable IMAGE_FEATURES_NOTIFY, which other users of the machine do not see).",
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
