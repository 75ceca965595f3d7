"""The options of `extract` about images: the model, how they are decoded and fetched."""

from __future__ import annotations

from typing import Any

from image_features.pipeline.argument_types import positive, positive_float
from image_features.pipeline.scaling_options import add_scalings
from image_features.transforms.images.policy import DECODES, INTERPOLATIONS


def add_model(group: Any) -> None:
    """Adds the options of what computes the features."""
    group.add_argument(
        "--model",
        action="append",
        default=None,
        metavar="[NAME=]HANDLE",
        help="An image feature-vector module, TF1 Hub or TF2 SavedModel: a directory, a "
        ".tar.gz, gs://, https://tfhub.dev/...; or `builtin`, the MobileNet V2 0.50 at 96x96 "
        "that comes with trained weights (builtin). Given several times, each with a NAME, it "
        "writes the features of each model as image/features/NAME in one pass.",
    )
    add_scalings(group)
    group.add_argument(
        "--batch_size",
        type=positive,
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
        "--allow_probabilities",
        action="store_true",
        default=False,
        help="Take the probabilities of a classifier for features, instead of refusing it.",
    )
    group.add_argument(
        "--cpu_threads",
        type=positive,
        default=None,
        metavar="N",
        help="Threads that decode and compute within a worker process (one a core).",
    )


def add_decode(group: Any) -> None:
    """Adds the options that tell how a file becomes pixels of the model's size."""
    group.add_argument(
        "--resize",
        choices=["stretch", "center_crop", "pad"],
        default="stretch",
        help="How an image comes to the model's size (stretch).",
    )
    group.add_argument(
        "--interpolation",
        choices=list(INTERPOLATIONS),
        default="bilinear",
        help="The filter by which an image is resized, which should be that of the model's own "
        "training (bilinear).",
    )
    group.add_argument(
        "--antialias",
        choices=["yes", "no"],
        default="yes",
        help="no is for models that were trained by tf.image.resize as it is by default: where "
        "an image shrinks, most of its pixels do not count (yes).",
    )
    group.add_argument(
        "--decode",
        choices=list(DECODES),
        default="fast",
        help="fast lets the JPEG decoder scale down by whole steps first; exact decodes every "
        "pixel; preview takes the preview that a camera has put into a JPEG, where it is as good, "
        "reads no more of the file, and is fast for all others (fast).",
    )
    group.add_argument(
        "--allow_truncated",
        action="store_true",
        default=False,
        help="Take files that end early, their missing part grey, instead of failing them.",
    )
    group.add_argument(
        "--max_megapixels",
        type=positive_float,
        default=64.0,
        metavar="N",
        help="Larger images fail before they are decoded (64).",
    )
    group.add_argument(
        "--decode_timeout",
        type=positive_float,
        default=30.0,
        metavar="SECONDS",
        help="For the decoding of one image, which fails as too_costly after it (30).",
    )


def add_fetch(group: Any) -> None:
    """Adds the options that tell how images are read from where they are."""
    group.add_argument(
        "--max_megabytes",
        type=positive_float,
        default=50.0,
        metavar="N",
        help="Larger files fail while they are read (50 MiB).",
    )
    group.add_argument(
        "--fetch_threads",
        type=positive,
        default=256,
        metavar="N",
        help="Fetches at once within a worker, at most; it takes as many as it needs, and fewer "
        "where few files may be open (256).",
    )
    group.add_argument(
        "--fetch_attempts",
        type=positive,
        default=4,
        metavar="N",
        help="Tries for a fetch, http(s) or of an object store, that fails in a way that may "
        "pass (4).",
    )
    group.add_argument(
        "--connect_timeout",
        type=positive_float,
        default=10.0,
        metavar="SECONDS",
        help="For a connection, http(s) or to gs://, to all addresses of a host together (10).",
    )
    group.add_argument(
        "--read_timeout",
        type=positive_float,
        default=30.0,
        metavar="SECONDS",
        help="Between two pieces of an answer, of http(s) or gs:// (30).",
    )
    group.add_argument(
        "--total_timeout",
        type=positive_float,
        default=120.0,
        metavar="SECONDS",
        help="For a fetch over http(s) as a whole, all its attempts and waits included; for each "
        "MiB of a manifest (120).",
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
