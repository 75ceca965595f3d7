"""The cost of `--decode=fast` in features and its gain in time, against `--decode=exact`.

python -m benchmarks.decode_difference --images=DIR [--model=HANDLE] [--json=FILE]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time

import numpy as np

from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy

ROUNDS = 3


def main() -> None:
    """Prints a table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, type=pathlib.Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--limit", type=int, default=1000, help="Images used at most.")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()

    module = FeatureModule.load(resolve(options.model).directory)
    policies = {
        mode: DecodePolicy(image_size=module.image_size, decode=mode) for mode in ("exact", "fast")
    }
    files = [path.read_bytes() for path in sorted(options.images.rglob("*")) if path.is_file()]
    files = [data for data in files if decodes(data, policies["exact"])][: options.limit]
    seconds: dict[str, list[float]] = {mode: [] for mode in policies}
    pixels = {}
    for _ in range(ROUNDS):  # Rounds are interleaved, so that a noisy minute strikes both.
        for mode, policy in policies.items():
            start = time.perf_counter()
            pixels[mode] = np.stack([decode_image(data, policy).pixels for data in files])
            seconds[mode].append(time.perf_counter() - start)
    features = {mode: module(images) for mode, images in pixels.items()}
    one, two = features["exact"], features["fast"]
    cosine = (one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
    between = one @ one.T / np.outer(*[np.linalg.norm(one, axis=1)] * 2)
    rate = {mode: len(files) / statistics.median(times) for mode, times in seconds.items()}
    result = {
        "images": len(files),
        "model": options.model,
        "exact_images_per_second": rate["exact"],
        "fast_images_per_second": rate["fast"],
        "speed_ratio": rate["fast"] / rate["exact"],
        "mean_pixel_difference": float(
            np.abs(pixels["exact"].astype(int) - pixels["fast"].astype(int)).mean()
        ),
        "feature_cosine_mean": float(cosine.mean()),
        "feature_cosine_worst": float(cosine.min()),
        "feature_cosine_between_different_images": float(
            between[~np.eye(len(files), dtype=bool)].mean()
        ),
    }
    for name, value in result.items():
        print(f"{name:42} {value if isinstance(value, str) else round(value, 5)}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def decodes(data: bytes, policy: DecodePolicy) -> bool:
    """Tells whether a file gives pixels."""
    try:
        decode_image(data, policy)
    except DecodeError:
        return False
    return True


if __name__ == "__main__":
    main()
