"""The command `export`: a dataset becomes files or rows of a database that others read."""

from __future__ import annotations

import argparse
import json
import logging
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.parsing import add_log_format, add_merged_shards, parse_with_beam
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say, show

if TYPE_CHECKING:
    from image_features.pipeline.dataset.export import Export

_LOG = logging.getLogger(__name__)

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
        help="Write only what has changed since the last export to TARGET, and the keys of rows "
        "that are gone; all rows if there was none.",
    )
    parser.add_argument(
        "--table",
        metavar="NAME",
        default="image_features",
        help="The table or collection in a database (image_features).",
    )
    add_merged_shards(parser, what="file")
    parser.add_argument(
        "--json",
        action="store_true",
        help="Print the content of .export.json instead; where nothing has changed, the last one.",
    )
    add_log_format(parser)


def run(argv: list[str]) -> int:
    """Exports a dataset, and says what came of it.

    Returns:
      0 done, or nothing to do.

    Raises:
      ImageFeaturesError: the export could not be prepared, or failed.
    """
    options, beam_options = parse_with_beam("export", add_arguments, argv)
    log_to_stderr(options.log_format)
    from image_features.pipeline.launch.export_options import ExportOptions
    from image_features.pipeline.launch.job import run_job
    from image_features.pipeline.launch.prepare_export import NothingToDo, prepare_export
    from image_features.pipeline.launch.work import Terms

    work = prepare_export(ExportOptions.of(options), beam_options)
    if isinstance(work, NothingToDo):
        return _tell(options, work.export, work.why)
    outcome = run_job(work, beam_options, Terms(again=command_again("export", argv)))
    export = outcome.run
    assert export is not None  # The launcher has waited for it.
    if outcome.result is None:
        return _tell(options, export, f"{export.directory} is committed already.")
    counts = export.counts
    return _tell(
        options,
        export,
        f"{export.directory}: {counts.rows_out} rows written, {counts.rows_removed} removed; it "
        f"has {export.rows} rows of {export.identity['vectors']['width']} values, "
        f"{counts.rows_out / max(outcome.seconds, 1e-9):.1f} rows/s",
    )


def _tell(options: argparse.Namespace, export: Export, sentence: str) -> int:
    """Says what came of it; with --json the record only, and the sentence to the log."""
    if options.json:
        _LOG.info("%s", sentence)
        show(json.dumps(export.record, indent=2), exact=True)
    else:
        say(sentence)
    return EXIT_OK
