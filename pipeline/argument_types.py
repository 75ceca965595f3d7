"""Types of arguments, for argparse: from the text, or a sentence on what is wrong with it."""

from __future__ import annotations

import argparse

from image_features.transforms.stores.uris import is_http


def web_address(text: str) -> str:
    """An http(s) address."""
    if not is_http(text):
        # Not repeated here: it may be a secret.
        raise argparse.ArgumentTypeError("the address does not begin with http:// or https://")
    return text


def rate(text: str) -> float:
    """A part of a whole, from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def positive_float(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def not_negative(text: str) -> float:
    """A number from 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value
