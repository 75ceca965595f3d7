"""The table of docs/images.md; `python -m tests.docs.images_table` writes it anew."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from image_features.transforms.images.headers.header import Alpha
from image_features.transforms.images.rules.rule import Rule
from image_features.transforms.images.table import RULES

PAGE = Path(__file__).parents[2] / "docs" / "images.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
_HEAD = "| format | samples | bits | transparency | read by | what is done |\n" + "|---" * 6 + "|\n"


def table() -> str:
    """Returns the table of all pixels that are read, in Markdown."""
    return _HEAD + "".join(f"| {' | '.join(_cells(rule))} |\n" for rule in RULES)


def on_the_page(text: str) -> str:
    """Returns the table that the page has."""
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def _cells(rule: Rule) -> Iterable[str]:
    kinds = [str(sample) for sample in rule.samples if str(sample) != "unsigned"]
    if kinds and len(kinds) < len(rule.samples):
        kinds.insert(0, "unsigned")
    samples = "; ".join([*map(str, rule.colours), *kinds])
    if rule.planar is not False:
        samples += "; each channel on its own" + (" or not" if rule.planar is None else "")
    if any(rule.codings or ()):
        samples += f"; {', '.join(rule.codings or ())}"
    alphas = set(rule.alphas)
    transparency = "any" if alphas == set(Alpha) else ", ".join(map(str, rule.alphas))
    formats = ", ".join(rule.formats)
    return formats, samples, _ranges(rule.bits), transparency, str(rule.decoder), rule.becomes


def _ranges(bits: Iterable[int]) -> str:
    """Writes 1, 2, 3, 4, 8 as 1-4, 8."""
    parts = []
    for _, run in itertools.groupby(enumerate(sorted(bits)), lambda pair: pair[1] - pair[0]):
        values = [value for _, value in run]
        parts.append(
            f"{values[0]}-{values[-1]}" if len(values) > 2 else ", ".join(map(str, values))
        )
    return ", ".join(parts)


def main() -> None:
    """Puts the table of the code on the page."""
    text = PAGE.read_text()
    PAGE.write_text(text.replace(BEGIN + on_the_page(text), BEGIN + table()))


if __name__ == "__main__":
    main()
