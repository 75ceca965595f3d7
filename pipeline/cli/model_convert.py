"""The action `model convert`: makes a feature-vector module of a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from image_features.errors import UsageError
from image_features.pipeline.cli.parsing import OptionParser
from image_features.pipeline.scaling_options import add_scaling, stated_scaling
from image_features.pipeline.streams import say
from image_features.system.paths import absolute

if TYPE_CHECKING:
    from image_features.models.convert import Converted

_FORMATS = ("tf2", "tf1_hub", "slim")
_DESCRIPTION = """\
Makes a module for extract's --model of any Keras image model (.keras, .h5, SavedModel): its own
preprocessing is kept, its classifier is cut off, feature maps are pooled. The formats tf1_hub and
slim hold the weights of the MobileNet V2 family, which are read from a model, a file of weights, a
TF-Slim checkpoint or a module."""


def add_convert(actions: argparse._SubParsersAction[OptionParser]) -> None:
    """Adds the action and its options."""
    convert = actions.add_parser(
        "convert",
        help="Make a module of a Keras model, or of MobileNet V2's weights.",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    convert.add_argument("source", help="A Keras model, a weights file, or as extract's --model.")
    convert.add_argument("target", help="The directory to make.")
    convert.add_argument(
        "--format", default="tf2", choices=_FORMATS, help="(tf2; the others: MobileNet V2 only)"
    )
    convert.add_argument(
        "--layer",
        default="",
        metavar="NAME",
        help="Layer whose output the features are (the last before the classifier).",
    )
    convert.add_argument(
        "--pooling", default="", choices=("avg", "max"), help="Of feature maps (avg)."
    )
    add_scaling(convert)
    convert.add_argument(
        "--image_size", type=int, metavar="PIXELS", help="Side of the images (as the source says)."
    )
    convert.add_argument(
        "--depth_multiplier", type=float, help="Of a MobileNet V2 (found by the shapes)."
    )


def run_convert(options: argparse.Namespace) -> int:
    """Converts, and says what was read, cut and written.

    Raises:
      UsageError: An option has no sense.
      ModelError: The model cannot be converted.
    """
    from image_features.models.convert import Conversion, ModelFormat, convert

    for name in ("image_size", "depth_multiplier"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name}={value} must be above 0.")
    wanted = Conversion(
        format=ModelFormat(options.format),
        image_size=options.image_size,
        depth_multiplier=options.depth_multiplier,
        layer=options.layer,
        pooling=options.pooling,
        scaling=stated_scaling(options.input_range, options.mean, options.std),
    )
    converted = convert(options.source, absolute(options.target), wanted)
    for line in _lines(options.target, options.format, converted):
        say(line)
    return 0


def _lines(target: str, format: str, made: Converted) -> list[str]:
    height, width = made.image_size
    lines = [f"{target}: {format}, of {made.source}"]
    if made.cut:
        lines.append(f"  features: {made.cut}; another layer by --layer")
    lines.append(f"  {made.num_features} features of images of {height}x{width}")
    if made.scaling is not None:
        lines.append(f"  {made.scaling}, {made.range_reason}")
    else:
        advice = f"; {made.range_reason}" if made.range_reason else ""
        lines.append(
            "  the model does not say what it takes for pixels, and [0, 1] is given to it: state "
            f"what it was trained on by --input_range, or by --mean and --std{advice}"
        )
    if format != "slim":
        lines.append(f"  image-features extract --model={target} ...")
    return lines
