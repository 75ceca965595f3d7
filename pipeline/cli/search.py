"""The command `search`: the images of a dataset that are nearest to one."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK
from image_features.pipeline.cli.parsing import parse
from image_features.pipeline.streams import show

if TYPE_CHECKING:
    from image_features.pipeline.search.nearest import Neighbour

HELP = "find the images of a dataset that are nearest to one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.description = (
        "Prints the images of a dataset that are nearest to one, by the cosine of their\n"
        "vectors: of all committed runs, of each image the latest."
    )
    parser.epilog = "exit codes: 0 done, 2 it cannot be searched"
    parser.add_argument("path", metavar="DATASET", help="A dataset's directory, or a run's.")
    parser.add_argument("query", nargs="?", metavar="QUERY", help="An image: a path or URI.")
    parser.add_argument("--key", help="Instead: the key of a row that is there.")
    parser.add_argument("--uri", help="Instead: the URI of a row that is there.")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="Images to print (10).")
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="The model whose vectors are searched, where a run has several.",
    )
    parser.add_argument(
        "--model", metavar="HANDLE", help="The module of the run (as run.json names it)."
    )
    parser.add_argument(
        "--index",
        choices=["auto", "always", "never"],
        default="auto",
        help="Whether to make and use an approximate index beside the dataset; auto does above "
        "1000000 rows if the extra [search] is installed (auto).",
    )
    parser.add_argument(
        "--allow_private_hosts",
        action="store_true",
        help="Fetch the image from loopback and private addresses too.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")


def run(argv: list[str]) -> int:
    """Prints the nearest images.

    Raises:
      UsageError: the dataset, the query or the model cannot be used.
    """
    options = parse("search", add_arguments, argv)
    from image_features.pipeline.search.query import search

    found = search(
        options.path,
        options.query,
        key=options.key,
        uri=options.uri,
        k=options.k,
        model=options.model,
        index=options.index,
        features=options.features,
        allow_private_hosts=options.allow_private_hosts,
    )
    lines = [_json(*ranked) if options.json else _line(*ranked) for ranked in enumerate(found, 1)]
    show(*lines, exact=options.json)
    return EXIT_OK


def _line(rank: int, row: Neighbour) -> str:
    return f"{rank:>4}  {1 - row.distance:.4f}  {row.uri}"


def _json(rank: int, row: Neighbour) -> str:
    fields = {"rank": rank, "similarity": round(1 - row.distance, 6), "uri": row.uri}
    return json.dumps({**fields, "key": row.key, "run_id": row.run_id})
