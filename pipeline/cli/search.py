"""`search`: the images of a dataset that are nearest to one."""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib.util
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from image_features.models.engines import load, prepare
from image_features.models.errors import ModelError
from image_features.models.handles import cache_root
from image_features.models.identity import Engine, Precision
from image_features.pipeline.dataset.latest_rows import find_vector
from image_features.pipeline.dataset.records import Floats, Run, comparable, current_runs
from image_features.pipeline.errors import OptionParser, UsageError
from image_features.pipeline.exits import EXIT_OK
from image_features.pipeline.search.nearest import Index, Neighbour, index_name, nearest
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.reader import ImageReader
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import image_key, redact_uri, resolve_uri
from image_features.transforms.values import ImageError, ImageRef, Stage

_LOG = logging.getLogger(__name__)
# Comparing with so many takes half a minute; to make their index takes as long as 60 searches.
_EXACT_ROWS = 1_000_000
_REPORT_SECONDS = 10.0


def make_parser() -> argparse.ArgumentParser:
    """The parser of everything after `image-features search`."""
    parser = OptionParser(
        prog="image-features search",
        description="Prints the images of a dataset that are nearest to one, by the cosine of "
        "their vectors: of all committed runs, of each image the latest.",
        epilog="exit codes: 0 done, 2 it cannot be searched",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="DATASET", help="A dataset's directory, or a run's.")
    parser.add_argument("query", nargs="?", metavar="QUERY", help="An image: a path or URI.")
    parser.add_argument("--key", help="Instead: the key of a row that is there.")
    parser.add_argument("--uri", help="Instead: the URI of a row that is there.")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="Images to print (10).")
    parser.add_argument(
        "--model", metavar="HANDLE", help="The module of the run (as run.json names it)."
    )
    parser.add_argument(
        "--index",
        choices=["auto", "always", "never"],
        default="auto",
        help="Whether to make and use an approximate index beside the dataset; auto does above "
        f"{_EXACT_ROWS} rows if the extra [search] is installed (auto).",
    )
    parser.add_argument(
        "--allow_private_hosts",
        action="store_true",
        help="Fetch the image from loopback and private addresses too.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")
    return parser


def run(options: argparse.Namespace) -> int:
    """Runs what `make_parser` parsed.

    Raises:
      UsageError: the dataset, the query or the model cannot be used.
    """
    given = [name for name in ("query", "key", "uri") if getattr(options, name)]
    if len(given) != 1:
        raise UsageError("Give one of QUERY, --key and --uri; see image-features search --help.")
    if options.k < 1:
        raise UsageError(f"-k {options.k} must be above 0.")
    try:
        found_runs = current_runs(options.path)
        runs = comparable(found_runs)
        if len(runs) < len(found_runs):
            _LOG.warning(
                "%d runs of other models or options are left out: their vectors cannot be "
                "compared with those of %s.",
                len(found_runs) - len(runs),
                runs[0].directory,
            )
        query, without = _query(options, runs)
        found = _search(options, runs)(query, options.k, without)
    except UsageError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{options.path} cannot be searched: {error}") from error
    for rank, row in enumerate(found, 1):
        print(_line(rank, row, options.json))
    return EXIT_OK


def _line(rank: int, row: Neighbour, as_json: bool) -> str:
    similarity = 1 - row.distance
    if as_json:
        fields = {"rank": rank, "similarity": round(similarity, 6), "uri": row.uri}
        return json.dumps({**fields, "key": row.key, "run_id": row.run_id})
    # A URI may hold what a terminal obeys.
    shown = "".join(c if c.isprintable() else f"%{ord(c):02X}" for c in row.uri)
    return f"{rank:>4}  {similarity:.4f}  {shown}"


def _query(options: argparse.Namespace, runs: Sequence[Run]) -> tuple[Floats, str]:
    """The vector to search with, and the key that is not its own neighbour."""
    if options.query:
        return _embed(_absolute(options.query), options, runs[0]), ""
    key = options.key.lower() if options.key else image_key(_absolute(options.uri))
    if len(key) != 32 or set(key) - set("0123456789abcdef"):
        raise UsageError(f"--key={options.key} is no key: those have 32 hexadecimal digits.")
    vector = find_vector(runs, key)
    if vector is None:
        asked = f"the key {key}" if options.key else redact_uri(options.uri)
        raise UsageError(f"{options.path} has no row of {asked}; to search with an image, give it.")
    return vector, key


def _absolute(uri: str) -> str:
    return resolve_uri(os.path.expanduser(uri), f"{os.getcwd()}/")


def _embed(uri: str, options: argparse.Namespace, latest: Run) -> Floats:
    """A new image's vector, made as the run's were."""
    made = latest.record["model"]
    handle = options.model or made["handle"]
    try:
        model = prepare(
            handle, engine=Engine(made["engine"]), precision=Precision(made["precision"])
        )
        if model.content_hash != made["content_hash"]:
            raise UsageError(
                f"The model {handle!r} has the content hash {model.content_hash:.12}, but "
                f"{latest.directory} was made with {made['content_hash']:.12}; give that one with "
                "--model."
            )
        function = load(model)
    except ModelError as error:
        raise UsageError(f"--model={handle}: {error}") from error
    pixels = _pixels(uri, latest, options.allow_private_hosts)
    return np.asarray(function(pixels[np.newaxis])[0], np.float32)


def _pixels(uri: str, latest: Run, private_hosts: bool) -> npt.NDArray[np.uint8]:
    policy = latest.decode_policy
    http = HttpPolicy(allow_private_hosts=private_hosts)
    fetch = FetchPolicy(http=http, max_bytes=policy.max_bytes, threads=1)
    with ImageReader(decode=policy, fetch=fetch) as reader:
        image = reader.read(ImageRef(uri, image_key(uri)))
    if isinstance(image, ImageError):
        fetched = image.stage is not Stage.FETCH
        raise UsageError(f"{redact_uri(uri)}: {image.message}" if fetched else image.message)
    return image.pixels


def _search(
    options: argparse.Namespace, runs: Sequence[Run]
) -> Callable[[Floats, int, str], list[Neighbour]]:
    def exact(query: Floats, count: int, without: str) -> list[Neighbour]:
        return nearest(runs, query, count, without)

    large = sum(run.rows for run in runs) > _EXACT_ROWS
    installed = importlib.util.find_spec("usearch") is not None
    if options.index == "always" and not installed:
        raise UsageError("--index=always needs usearch: install the extra [search].")
    if options.index == "never" or (options.index == "auto" and not large):
        return exact
    if not installed:
        _LOG.info("Compares with every row; the extra [search] brings an index for so many.")
        return exact
    if not any(run.rows for run in runs):
        return exact
    return Index(runs, _index_file(options.path, runs)).nearest


def _index_file(path: str, runs: Sequence[Run]) -> str:
    """The index's path, made if need be; others of the dataset's are out of date."""
    directory = path
    if "://" in path or not os.access(path, os.W_OK):
        directory = os.path.join(cache_root(), "search")
        os.makedirs(directory, exist_ok=True)
    file = os.path.join(directory, index_name(runs))
    if os.path.exists(file):
        return file
    _LOG.info("Makes the index %s, once for these runs.", file)
    total, told = sum(run.rows for run in runs), time.monotonic()

    def report(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            _LOG.info("%d of at most %d rows are in the index.", rows, total)

    Index.build(runs, file, report)
    if directory == path:
        for old in glob.glob(os.path.join(glob.escape(directory), ".search-*.usearch")):
            if old != file:
                with contextlib.suppress(OSError):
                    os.unlink(old)
    return file
