"""The command `export`: a dataset becomes files or rows of a database that others read."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK
from image_features.pipeline.argument_types import positive
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import parse_with_beam
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say, show

if TYPE_CHECKING:
    from image_features.pipeline.dataset.export import Export

HELP = "write a dataset as Parquet, npy or Lance, or to a vector database"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own options."""
    parser.usage = "image-features export DATASET TARGET [options] [Beam options]"
    parser.description = (
        "Writes the rows of a dataset, of each image the latest once, for other programs:\n"
        "as files in a directory, or to a database of vectors. With --since=last only what\n"
        "has changed since the target's last export, removed rows too."
    )
    parser.epilog = (
        "Beam options pass through, as with extract. Exit codes: 0 done, or nothing to do,\n"
        "1 failed, 2 bad arguments, 4 another launcher does it."
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="The dataset's directory, or a run's; local or gs://."
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="A new directory, local or gs://, or the address of a database.",
    )
    parser.add_argument(
        "--format",
        choices=["parquet", "npy", "lance", "qdrant", "pgvector"],
        default="parquet",
        help="What to write (parquet).",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "int8"],
        default="float32",
        help="Of the vectors (float32). int8 has a column `scale` beside it.",
    )
    parser.add_argument(
        "--normalize", action="store_true", help="Scale vectors to length one (no)."
    )
    parser.add_argument(
        "--columns",
        metavar="NAME,...",
        help="What to write beside key and vector: uri, sha256, format, width, height, and the "
        "manifest's columns (all).",
    )
    parser.add_argument(
        "--features", metavar="NAME", help="The model whose vectors are written, of several."
    )
    parser.add_argument(
        "--since",
        choices=["last"],
        help="Write only what has changed since the last export to TARGET.",
    )
    parser.add_argument(
        "--table",
        metavar="NAME",
        default="image_features",
        help="The table or collection in a database (image_features).",
    )
    parser.add_argument(
        "--num_shards",
        type=positive,
        metavar="N",
        help="A fixed number of files (default: of the largest run, doubled until a file has no "
        "more than twice --images_per_shard rows).",
    )
    parser.add_argument(
        "--images_per_shard",
        type=positive,
        default=10_000,
        metavar="N",
        help="Rows a file may hold (10000).",
    )
    parser.add_argument("--json", action="store_true", help="Print .export.json when done.")
    parser.add_argument(
        "--log_format",
        choices=["text", "json"],
        default="text",
        help="Of the log (text).",
    )


def run(argv: list[str]) -> int:
    """Exports a dataset, and says what came of it.

    Returns:
      0 done, or nothing to do.

    Raises:
      ImageFeaturesError: the export could not be prepared, or failed.
    """
    options, beam_options = parse_with_beam("export", add_arguments, argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.launch.job import run_job
    from image_features.pipeline.launch.prepare import AlreadyCommitted
    from image_features.pipeline.launch.prepare_export import (
        ExportFormat,
        ExportOptions,
        prepare_export,
    )
    from image_features.pipeline.launch.work import Terms
    from image_features.transforms.exports.fields import VectorType

    columns = options.columns
    work = prepare_export(
        ExportOptions(
            dataset=options.dataset,
            target=options.target,
            format=ExportFormat(options.format),
            type=VectorType(options.dtype),
            normalize=options.normalize,
            columns=None if columns is None else tuple(filter(None, columns.split(","))),
            features=options.features,
            since_last=options.since == "last",
            num_shards=options.num_shards,
            images_per_shard=options.images_per_shard,
            table=options.table,
        ),
        beam_options,
    )
    if work is None:
        say(f"{options.target}: nothing has changed since the last export.")
        return EXIT_OK
    if isinstance(work, AlreadyCommitted):
        say(work)
        return EXIT_OK
    outcome = run_job(work, beam_options, Terms(again=command_again("export", argv)))
    if outcome.run is None or outcome.result is None:
        say(AlreadyCommitted(work.run.layout.directory))
        return EXIT_OK
    if options.json:
        show(json.dumps(outcome.run.record, indent=2), exact=True)
    else:
        _summarize(outcome.run, outcome.seconds)
    return EXIT_OK


def _summarize(export: Export, seconds: float) -> None:
    counts = export.counts
    say(
        f"{export.directory}: {counts.rows_out} rows written, {counts.rows_removed} removed; it "
        f"has {export.rows} rows of {export.identity['vectors']['width']} values, "
        f"{counts.rows_out / max(seconds, 1e-9):.1f} rows/s"
    )
