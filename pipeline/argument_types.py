"""Types of arguments for argparse: each reads a text, or says in a sentence what is wrong."""

from __future__ import annotations

import argparse
import math
from urllib.parse import urlsplit

from image_features.transforms.stores.uris import is_http

_OF_BYTES = "divide what is said of pixels from 0 to 255 by 255"


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


def cosine(text: str) -> float:
    """Reads a cosine above 0."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a cosine above 0 and up to 1")
    return value


def whole(text: str) -> int:
    """Reads a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0")
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


def input_range(text: str) -> tuple[float, float]:
    """Reads what a model takes for black and for white."""
    low, high = _numbers(text, 2, "-1,1")
    if not low < high:
        raise argparse.ArgumentTypeError(f"{text} does not go from less to more, as -1,1 does")
    return low, high


def channel_means(text: str) -> tuple[float, float, float]:
    """Reads the mean of red, green and blue in [0, 1]."""
    red, green, blue = _numbers(text, 3, "0.485,0.456,0.406")
    if not all(0 <= number <= 1 for number in (red, green, blue)):
        raise argparse.ArgumentTypeError(f"{text} is no mean of pixels in [0, 1]; {_OF_BYTES}")
    return red, green, blue


def channel_deviations(text: str) -> tuple[float, float, float]:
    """Reads the standard deviation of red, green and blue in [0, 1]."""
    red, green, blue = _numbers(text, 3, "0.229,0.224,0.225")
    if not all(0 < number <= 1 for number in (red, green, blue)):
        raise argparse.ArgumentTypeError(
            f"{text} is no deviation of pixels in [0, 1], which is above 0; {_OF_BYTES}"
        )
    return red, green, blue


def _numbers(text: str, count: int, example: str) -> list[float]:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers, such as {example}")
    return numbers
