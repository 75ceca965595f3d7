"""The preparation before any time is taken: the model's directory, and its LiteRT file.

python -m benchmarks.contenders.preparation --model=HANDLE --flatbuffer=FILE
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil

from image_features.models.compiler import compile_module
from image_features.models.handles import resolve


def main() -> None:
    """Prints a JSON line of the model's directory and image size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="As `extract` takes it.")
    parser.add_argument("--flatbuffer", required=True, type=pathlib.Path)
    options = parser.parse_args()
    module = resolve(options.model)
    compiled = compile_module(module)
    shutil.copyfile(compiled.path, options.flatbuffer)
    print(json.dumps({"directory": module.directory, "image_size": compiled.image_size}))


if __name__ == "__main__":
    main()
