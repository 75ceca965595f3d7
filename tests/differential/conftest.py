"""Everything in this folder compares with ImageMagick and libvips: pytest -m differential."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.differential.viewers import ImageMagick, Vips
from tests.tools import imagemagick, vips

_disagreements = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = pathlib.Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.differential)


@pytest.fixture(scope="session")
def viewers() -> tuple[ImageMagick, Vips]:
    """What shows pictures beside this product."""
    return ImageMagick(imagemagick()), Vips(vips())


@pytest.fixture
def disagreements(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Where the viewers do not agree with each other, which is listed at the end."""
    yield request.config.stash.setdefault(_disagreements, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash.get(_disagreements, []):
        terminalreporter.section("files that ImageMagick and libvips show differently")
        for line in lines:
            terminalreporter.line(line)
