"""imagededup as its README advises: a hash of each image, and all pairs within its distance.

It runs by itself, in an environment with another NumPy and without the product.
"""

from __future__ import annotations

import argparse
import json
import pathlib

from imagededup import methods


def main() -> None:
    """Writes the pairs of names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--pairs", required=True, type=pathlib.Path)
    parser.add_argument("--method", default="PHash")
    parser.add_argument("--threshold", type=int, default=10, help="Its own default.")
    options = parser.parse_args()
    found = getattr(methods, options.method)().find_duplicates(
        image_dir=options.images, max_distance_threshold=options.threshold
    )
    pairs = {tuple(sorted((name, other))) for name, others in found.items() for other in others}
    options.pairs.write_text(json.dumps(sorted(pairs)))


if __name__ == "__main__":
    main()
