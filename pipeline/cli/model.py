"""The command `model`: describes, converts, compares or fine-tunes feature-vector modules."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from image_features.errors import ModelError, UsageError
from image_features.models.quiet import import_tensorflow
from image_features.pipeline.cli.model_convert import add_convert, run_convert
from image_features.pipeline.cli.parsing import OptionParser, parse
from image_features.pipeline.scaling_options import add_scaling, stated_scaling
from image_features.pipeline.streams import say, show
from image_features.system.paths import absolute

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from image_features.models.finetune import Report

HELP = "describe, convert, compare or fine-tune feature-vector modules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions and their options."""
    parser.description = "Works on feature-vector modules."
    actions = parser.add_subparsers(dest="action", required=True, parser_class=OptionParser)
    describe = actions.add_parser(
        "describe",
        help="Print a module's format, signatures, image size, features, parameters and hash.",
        allow_abbrev=False,
    )
    describe.add_argument("handle", help="As extract's --model.")
    add_convert(actions)
    verify = actions.add_parser(
        "verify",
        help="Compare two modules' features for the same images.",
        epilog="exit codes: 0 within the tolerance, 1 not, 2 bad arguments",
        allow_abbrev=False,
    )
    verify.add_argument("a", help="As extract's --model.")
    verify.add_argument("b", help="As extract's --model.")
    verify.add_argument(
        "--images", metavar="LOCATION", help="A directory, glob or manifest (synthetic images)."
    )
    verify.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="Largest difference of a value that passes, in parts of the range that its dimension "
        "has over the images (0.001).",
    )
    _add_finetune(actions)


def _add_finetune(actions: argparse._SubParsersAction[OptionParser]) -> None:
    finetune = actions.add_parser(
        "finetune",
        help="Train a module further on labelled images.",
        description="Trains a classifier on the frozen features, then all layers with it, and "
        "writes the best state by held-out accuracy as a module for extract. The same "
        "command goes on where a killed one was.",
        allow_abbrev=False,
    )
    finetune.add_argument("--model", default="builtin", help="As extract's --model (builtin).")
    finetune.add_argument(
        "--train", required=True, metavar="MANIFEST", help="Manifest with URIs and labels."
    )
    finetune.add_argument("--output", required=True, metavar="DIR", help="The module to make.")
    finetune.add_argument(
        "--work", metavar="DIR", help="Checkpoints and TensorBoard logs (OUTPUT.training)."
    )
    finetune.add_argument("--label_column", default="label", metavar="NAME", help="(label)")
    finetune.add_argument("--uri_column", metavar="NAME", help="(found)")
    add_scaling(finetune)
    for name, kind, default, text in (
        ("epochs", int, 20, "At most this many passes with all layers learning"),
        ("patience", int, 5, "Stop after so many passes that were no better"),
        ("batch_size", int, 32, "Images a step"),
        ("learning_rate", float, 1e-3, "Peak rate for all layers"),
        ("batch_norm_momentum", float, 0.9, "What moving statistics keep in a step"),
        ("augment", str, "crop_flip", "crop_flip, crop (writing) or none; for the learning"),
        ("held_out", float, 0.2, "Part of each class that is measured on"),
        ("seed", int, 0, "Of split, order, crops and flips"),
    ):
        finetune.add_argument(f"--{name}", type=kind, default=default, help=f"{text} ({default}).")


def run(argv: list[str]) -> int:
    """Runs one action.

    Returns:
      0 done, 1 the models of `verify` differ.

    Raises:
      UsageError: the arguments cannot be used.
    """
    options = parse("model", add_arguments, argv)
    import_tensorflow()
    try:
        if options.action == "describe":
            return _describe(options)
        if options.action == "convert":
            return run_convert(options)
        if options.action == "verify":
            return _verify(options)
        return _finetune(options)
    except ModelError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        from image_features.pipeline.locations import explain

        raise UsageError(f"{explain(error)}.") from error


def _describe(options: argparse.Namespace) -> int:
    from image_features.models.describe import describe

    show(json.dumps(describe(options.handle), indent=2, default=str), exact=True)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from image_features.models.soundness import examine
    from image_features.models.verify import compare, load_pair, synthetic_images

    first, second = load_pair(options.a, options.b)
    if options.images is None:
        pixels = synthetic_images(*first.image_size)
    else:
        pixels = _pixels(options.images, first.image_size)
    difference = compare(first, second, pixels)
    within = difference.max_by_dimension <= options.tolerance
    if within:  # Two copies of a model that draws numbers may draw the same ones.
        for module in (first, second):
            examine(module)
    told = {**dataclasses.asdict(difference), "within_tolerance": within}
    show(json.dumps(told, indent=2), exact=True)
    return 0 if within else 1


def _pixels(location: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    from image_features.pipeline.finetune.labelled import read_images
    from image_features.transforms.images.policy import DecodePolicy

    return read_images(location, policy=DecodePolicy(size)).pixels


def _finetune(options: argparse.Namespace) -> int:
    from image_features.models.tuner import FinetuneConfig
    from image_features.pipeline.finetune.finetune import FinetuneJob, run_finetune

    fields = [field.name for field in dataclasses.fields(FinetuneConfig)]
    try:
        config = FinetuneConfig(**{name: getattr(options, name) for name in fields})
    except ValueError as error:
        raise UsageError(str(error)) from error
    output = absolute(options.output)
    job = FinetuneJob(
        model=options.model,
        train=options.train,
        output=output,
        work=absolute(options.work or f"{output}.training"),
        label_column=options.label_column,
        uri_column=options.uri_column,
        config=config,
        scaling=stated_scaling(options.input_range, options.mean, options.std),
    )
    with _progress_bar() as report:
        result = run_finetune(job, report)
    say(
        f"{options.output}: held-out accuracy {result.accuracy:.4f} after pass "
        f"{result.best_epoch} of {result.epochs}; a linear classifier on the frozen features had "
        f"{result.probe_accuracy:.4f}"
    )
    say(f"  image-features extract --model={options.output} ...")
    return 0


@contextmanager
def _progress_bar() -> Iterator[Report]:
    """Shows a bar on a terminal, and nothing elsewhere, since the passes are logged anyway."""
    if not sys.stderr.isatty():
        yield lambda phase, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        tasks = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=total)
            progress.update(tasks[phase], completed=done)

        yield report
