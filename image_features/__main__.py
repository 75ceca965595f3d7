"""Runs the command line: `python -m image_features`."""

from image_features.pipeline.cli.main import console

console()
