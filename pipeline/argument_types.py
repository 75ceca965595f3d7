"""Types of arguments for argparse: each reads a text, or says in a sentence what is wrong."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

from image_features.transforms.stores.uris import is_http


def web_address(text: str) -> str:
    """Reads an http(s) address."""
    if not is_http(text):
        # The text is not repeated here, since it may be a secret.
        raise argparse.ArgumentTypeError("the address does not begin with http:// or https://")
    try:
        if not urlsplit(text).hostname or urlsplit(text).port == 0:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError("the address names no host, or no port") from None
    return text


def rate(text: str) -> float:
    """Reads a part of a whole, from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """Reads a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def positive_float(text: str) -> float:
    """Reads a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def not_negative(text: str) -> float:
    """Reads a number that is 0 or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value
