"""What is made once before any time is taken: the model's directory, and its LiteRT file.

python -m benchmarks.contenders.preparation --model=HANDLE --flatbuffer=FILE
"""

from __future__ import annotations

import argparse
import json
import pathlib

from benchmarks.contenders.network import Network
from models.handles import resolve

_BATCH_SIZE = 32


def main() -> None:
    """Prints a JSON line of the model's directory and image size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="As `extract` takes it.")
    parser.add_argument("--flatbuffer", required=True, type=pathlib.Path)
    options = parser.parse_args()
    directory = resolve(options.model).directory
    network = Network(directory)
    options.flatbuffer.write_bytes(network.flatbuffer(_BATCH_SIZE))
    print(json.dumps({"directory": directory, "image_size": network.image_size}))


if __name__ == "__main__":
    main()
