from __future__ import annotations

import pathlib

import pytest
from PIL import Image

from benchmarks.corpus import FORMATS, encode_anew, image_files, repeat
from tests.images import encode, noise


@pytest.fixture
def images(tmp_path: pathlib.Path) -> pathlib.Path:
    directory = tmp_path / "images"
    (directory / "deeper").mkdir(parents=True)
    for seed in range(3):
        (directory / "deeper" / f"{seed}.JPEG").write_bytes(encode(noise(seed)))
    (directory / "notes.txt").write_text("no image")
    return directory


def test_links_are_distinct_and_evenly_spread(images: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = repeat(images, 2500, tmp_path / "corpus")
    assert manifest.suffix == ".txt"
    links = [pathlib.Path(line) for line in manifest.read_text().splitlines()]
    assert len(set(links)) == 2500
    assert all(link.is_absolute() and link.is_symlink() for link in links)
    uses = [sum(link.resolve().name == f"{seed}.JPEG" for link in links) for seed in range(3)]
    assert sum(uses) == 2500 and max(uses) - min(uses) <= 1
    parents = {link.parent for link in links}
    assert all(len(list(parent.iterdir())) <= 1000 for parent in parents)


def test_again_in_the_same_place(images: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = repeat(images, 5, tmp_path / "corpus").read_text()
    assert repeat(images, 5, tmp_path / "corpus").read_text() == first


def test_a_smaller_corpus_begins_like_a_larger_one(
    images: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    small = repeat(images, 3, tmp_path / "small").read_text().splitlines()
    large = repeat(images, 6, tmp_path / "large").read_text().splitlines()
    resolved = [[pathlib.Path(line).resolve() for line in lines] for lines in (small, large)]
    assert resolved[1][:3] == resolved[0]


def test_refuses_what_gives_no_corpus(images: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image in"):
        repeat(tmp_path / "empty", 1, tmp_path / "corpus")
    with pytest.raises(ValueError, match="at least 1"):
        repeat(images, 0, tmp_path / "corpus")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_pictures_in_another_format(
    images: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    made = encode_anew(images, tmp_path / "made", name)
    for before, after in zip(image_files(images), image_files(made), strict=True):
        with Image.open(before) as one, Image.open(after) as other:
            assert (other.format, other.size) == (name.upper(), one.size)
            assert name != "png" or other.tobytes() == one.convert("RGB").tobytes()
