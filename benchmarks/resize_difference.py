"""What --interpolation and --antialias change in features, against the default, and what they cost.

python -m benchmarks.resize_difference --images=DIR [--model=HANDLE] [--resize=MODE] [--json=FILE]

`to default` is the cosine of an image's features to those by default; `fast to exact` that of
--decode=fast to --decode=exact with the same filter, where fast leaves out pixels.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import time

import numpy as np
import numpy.typing as npt

from benchmarks.decode_difference import decodes
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import INTERPOLATIONS, DecodePolicy

_Floats = npt.NDArray[np.float32]


def main() -> None:
    """Prints a table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=pathlib.Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--resize", default="stretch", choices=["stretch", "center_crop", "pad"])
    parser.add_argument("--limit", type=int, default=1000, help="Images used at most.")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()

    module = FeatureModule.load(resolve(options.model).directory)
    default = DecodePolicy(image_size=module.image_size, resize=options.resize)
    files = [path.read_bytes() for path in sorted(options.images.rglob("*")) if path.is_file()]
    files = [data for data in files if decodes(data, default)][: options.limit]
    usual, _ = _features(module, files, default)
    lines = []
    for policy in _policies(default):
        features, seconds = _features(module, files, policy)
        line: dict[str, float | str] = {
            "interpolation": policy.interpolation,
            "antialias": "yes" if policy.antialias else "no",
            "to_default_mean": float(_cosine(usual, features).mean()),
            "to_default_worst": float(_cosine(usual, features).min()),
            "decode_ms": 1000 * seconds / len(files),
        }
        if policy.margin:
            exact, _ = _features(module, files, dataclasses.replace(policy, decode="exact"))
            line["fast_to_exact_mean"] = float(_cosine(exact, features).mean())
            line["fast_to_exact_worst"] = float(_cosine(exact, features).min())
        lines.append(line)
    between = _cosine(usual, np.roll(usual, 1, axis=0)).mean()
    print(f"{len(files)} images, {options.model}; two different images: {between:.4f}")
    print(
        "| interpolation | antialias | to default | worst | fast to exact | worst | ms an image |"
    )
    print("|---|---|---|---|---|---|---|")
    for line in lines:
        shown = (f"{cell:.4f}" if isinstance(cell, float) else cell for cell in _cells(line))
        print(f"| {' | '.join(shown)} |")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n")


def _policies(default: DecodePolicy) -> list[DecodePolicy]:
    policies = []
    for interpolation in INTERPOLATIONS:
        for antialias in (True, False):
            try:
                policies.append(
                    dataclasses.replace(default, interpolation=interpolation, antialias=antialias)
                )
            except ValueError:  # It is no choice for this one.
                continue
    return policies


def _features(
    module: FeatureModule, files: list[bytes], policy: DecodePolicy
) -> tuple[_Floats, float]:
    start = time.perf_counter()
    pixels = np.stack([decode_image(data, policy).pixels for data in files])
    seconds = time.perf_counter() - start
    return np.asarray(module(pixels), np.float32), seconds


def _cosine(one: _Floats, two: _Floats) -> _Floats:
    return (one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))


def _cells(line: dict[str, float | str]) -> list[float | str]:
    names = ("interpolation", "antialias", "to_default_mean", "to_default_worst")
    exact = ("fast_to_exact_mean", "fast_to_exact_worst", "decode_ms")
    return [line.get(name, "") for name in names + exact]


if __name__ == "__main__":
    main()
