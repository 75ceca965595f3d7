"""The command `report`: a dataset on one page."""

from __future__ import annotations

import argparse
import importlib.util
import uuid
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK, UsageError
from image_features.pipeline.cli.parsing import parse
from image_features.pipeline.streams import say
from image_features.system.paths import absolute

if TYPE_CHECKING:
    from image_features.pipeline.report.contents import Report

HELP = "write a page that shows a dataset: runs, errors, features, neighbours"

_SECONDS = 60.0  # After so many no other thumbnail is begun.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.description = (
        "Writes one HTML page about a dataset: its runs, errors and images, the health\n"
        "of its features, a map of them, nearest neighbours and near duplicates."
    )
    parser.epilog = "exit codes: 0 written, 2 it cannot be"
    parser.add_argument("path", metavar="DATASET", help="A dataset's directory, or a run's.")
    parser.add_argument(
        "--output", default="report.html", metavar="FILE", help="The page (report.html)."
    )
    parser.add_argument(
        "--max_points",
        type=int,
        default=5000,
        metavar="N",
        help="Images on the map; among them neighbours and near duplicates are found (5000).",
    )
    parser.add_argument(
        "--thumbnails",
        type=int,
        default=400,
        metavar="N",
        help="Images to read again, from where they were, for a small picture (400).",
    )
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="The only model whose vectors are shown, where a run has several (all of them).",
    )


def run(argv: list[str]) -> int:
    """Writes the page.

    Raises:
      UsageError: the dataset cannot be read or the page cannot be written.
    """
    options = parse("report", add_arguments, argv)
    if options.max_points < 1 or options.thumbnails < 0:
        raise UsageError("--max_points must be above 0, and --thumbnails not below it.")
    if any(importlib.util.find_spec(name) is None for name in ("jinja2", "vl_convert")):
        raise UsageError(
            "The page is made with Jinja and Vega: install the extra [report], "
            "by pip install 'image-feature-extractor[report]'."
        )
    from image_features.pipeline.dataset.run import committed_runs
    from image_features.pipeline.locations import explain
    from image_features.pipeline.report.gather import gather
    from image_features.pipeline.report.page import render, wanted_thumbnails

    try:
        report = gather(
            options.path, committed_runs(options.path), options.max_points, options.features
        )
    except UsageError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{options.path} cannot be reported on: {explain(error)}.") from error
    wanted = wanted_thumbnails(report, options.thumbnails)
    thumbnails = _thumbnails(report, wanted)
    # A manifest's URI may hold surrogates, which UTF-8 has no bytes for.
    page = render(report, thumbnails).encode("utf-8", "replace")
    _write(options.output, page)
    say(
        f"{options.output}: {len(page) / 1e6:.1f} MB, {len(report.rows)} images sampled, "
        f"{len(thumbnails)} of {len(wanted)} thumbnails"
    )
    return EXIT_OK


def _thumbnails(report: Report, wanted: Sequence[int]) -> dict[int, str]:
    """Returns pictures of rows as data URIs, those that can be had, by the rows."""
    from image_features.pipeline.report.thumbnails import Pictured, read_thumbnails

    made = {run.run_id: run.provenance.archives for run in report.runs}
    rows = [report.rows[row] for row in wanted]
    pictures = read_thumbnails([Pictured(row.uri, made[row.run_id]) for row in rows], _SECONDS)
    return {row: picture for row, picture in zip(wanted, pictures, strict=True) if picture}


def _words(error: Exception) -> str:
    from image_features.pipeline.locations import explain

    # The name in it may be the one that the file has until it is whole.
    return getattr(error, "strerror", None) or explain(error)


def _write(path: str, page: bytes) -> None:
    from image_features.transforms.stores.files import create_whole

    path = absolute(path)
    directory, _, name = path.rpartition("/")
    try:
        with create_whole(path, f"{directory}/.{name}.{uuid.uuid4().hex}") as file:
            file.write(page)
    except (OSError, ValueError) as error:
        raise UsageError(f"--output={path} cannot be written: {_words(error)}.") from error
