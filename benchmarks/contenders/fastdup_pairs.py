"""fastdup as its README advises: its own model's vectors, and each image's nearest neighbours.

It runs by itself, in an environment with another NumPy and without the product.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile

os.environ["SENTRY_OPT_OUT"] = "True"  # It would report its use.

import fastdup

# With the two that are its default, an image that has ten copies would have two of them.
_NEIGHBOURS = 20


def main() -> None:
    """Writes the pairs of names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--pairs", required=True, type=pathlib.Path)
    parser.add_argument("--threshold", type=float, default=0.96, help="Its own default.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = fastdup.create(work_dir=scratch, input_dir=options.images)
        run.run(
            threshold=options.threshold,
            nearest_neighbors_k=_NEIGHBOURS,
            overwrite=True,
            verbose=False,
        )
        found = run.similarity()
    names = [
        [os.path.basename(path) for path in found[column]]
        for column in ("filename_from", "filename_to")
    ]
    near = found["distance"] >= options.threshold
    pairs = {
        tuple(sorted(pair)) for pair, one in zip(zip(*names, strict=True), near, strict=True) if one
    }
    options.pairs.write_text(json.dumps(sorted(pairs)))


if __name__ == "__main__":
    main()
