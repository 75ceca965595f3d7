from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import examiner, measure
from benchmarks.examiner import Examiner
from benchmarks.mutations.mutant import FORMATS, Breeder, Origin, format_of
from benchmarks.mutations.origins import origins
from benchmarks.mutations.structure import Body
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.picture import Pixels
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests.images import encode, noise

_POLICY = DecodePolicy((16, 16), max_pixels=4_000_000)


@pytest.fixture(scope="module")
def files() -> list[Origin]:
    return origins()


def test_mutants_are_the_same_every_time_and_of_every_format(files: list[Origin]) -> None:
    first, second = Breeder(files, seed=1), Breeder(origins(), seed=1)
    formats = set()
    for number in range(300):
        mutant = first.mutant(number)
        assert mutant == second.mutant(number)
        formats.add(mutant.format)
    assert formats >= {
        "avif",
        "bmp",
        "gif",
        "ico",
        "jpeg",
        "jpeg2000",
        "png",
        "pnm",
        "tiff",
        "webp",
    }
    others = [Breeder(files, seed=2).mutant(number).data for number in range(20)]
    assert others != [first.mutant(number).data for number in range(20)]


def test_files_are_taken_apart_and_put_together_as_they_were(files: list[Origin]) -> None:
    for origin in files:
        form, data = origin.format, origin.data
        assert form in FORMATS or form.name == "other"
        if not origin.name.startswith("pillow"):
            continue  # The corpus has files that are damaged.
        parts, numbers = form.anatomy(data)
        assert parts and numbers, origin.name
        body = Body(form, data, data)
        for part in parts:
            piece = body.piece(part)
            assert form.seal(piece) == piece, origin.name
            assert body.put(part, piece) == data
        if form.moves:  # At any level, what is not nested comes one after the other.
            ends = [part.end for part in parts if not part.parents]
            assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("name", "behind", "piece"),
    [
        ("png", -2, b"\0\0\0\0teXt one more\0\0\0\0"),
        ("webp", -1, b"MORE\0\0\0\0one more"),
        ("jpeg", -2, b"\xff\xfe\0\0one more"),
        ("gif", -2, b"\x21\xfe\x08one more\0"),
        ("avif", -1, b"\0\0\0\x10freeone more"),
        ("jpeg2000", -2, b"\xff\x64\0\0\0\1one more"),
    ],
)
def test_a_part_more_leaves_what_is_around_it_sound(files, name, behind, piece) -> None:
    data = next(file.data for file in files if file.name.startswith(f"pillow_{name}_"))
    expected = decode_image(data, _POLICY).pixels
    form = format_of(data)
    body = Body(form, data, data)
    # What is nested deepest tells whether all that it lies in has grown, and what comes behind.
    depth = max(len(part.parents) for part in body.parts)
    part = [part for part in body.parts if len(part.parents) == depth][behind]
    longer = body.put(part, body.piece(part) + form.seal(piece))
    assert len(longer) == len(data) + len(piece)
    assert np.array_equal(decode_image(longer, _POLICY).pixels, expected)


@pytest.fixture
def watched() -> Iterator[Examiner]:
    process = Examiner()
    yield process
    process.close()


def test_a_lost_process_is_a_finding_and_the_next_file_has_another(watched: Examiner) -> None:
    data = encode(noise(0), "PNG")
    first = watched.examine(data, _POLICY)
    assert (first.outcome, first.problem) == ("pixels", "")
    assert first.mib < 100 and first.resting_mib > 50
    assert watched._process is not None
    watched._process.kill()
    assert watched.examine(data, _POLICY).problem == "The process has ended with -9."
    assert watched.examine(data[:60], _POLICY).outcome == "truncated"


def _raise(data: bytes, policy: DecodePolicy) -> Pixels:
    raise ValueError("of another kind")


def _give_no_reason(data: bytes, policy: DecodePolicy) -> Pixels:
    raise DecodeError("lost", "")  # type: ignore[arg-type]


def _give_another_size(data: bytes, policy: DecodePolicy) -> Pixels:
    return decode_image(data, DecodePolicy((5, 5)))


def _take_time(data: bytes, policy: DecodePolicy) -> Pixels:
    time.sleep(2.2)
    return decode_image(data, policy)


def _take_memory(data: bytes, policy: DecodePolicy) -> Pixels:
    taken = np.ones(policy.max_memory + 2**27, np.uint8)
    return Pixels(taken[: 16 * 16 * 3].reshape(16, 16, 3), "png", 16, 16)


def _give_other_pixels(data: bytes, policy: DecodePolicy) -> Pixels:
    return decode_image(encode(noise(time.time_ns())), policy)


@pytest.mark.parametrize(
    ("decode", "problem"),
    [
        (_raise, "It raised ValueError: of another kind"),
        (_give_no_reason, "It has no reason or no message."),
        (_give_another_size, "The pixels are uint8 (5, 5, 3)."),
        (_take_time, "seconds of 0.1 allowed."),
        (_take_memory, "MiB of "),
        (_give_other_pixels, "The second time it had other pixels."),
    ],
)
def test_what_a_decoder_may_do_wrong_is_found(monkeypatch, decode, problem: str) -> None:
    monkeypatch.setattr(examiner, "decode_image", decode)
    seconds = 0.1 if decode is _take_time else 60.0
    policy = DecodePolicy((16, 16), max_pixels=1_000_000, timeout=seconds)
    verdict = examiner._judge(encode(noise(0)), policy, examiner._Household())
    assert problem in verdict.problem


@pytest.mark.long
@pytest.mark.parametrize("mode", [[], ["--whole"]])
def test_two_thousand_mutants_end_as_pixels_or_an_error_each(
    tmp_path: pathlib.Path, mode: list[str]
) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.fuzz", "--mutants=2000", f"--json={result}"]
    measure.run([*command, f"--keep={tmp_path / 'kept'}", *mode], timeout=600)
    found = json.loads(result.read_text())
    assert found["wrong"] == []
    total = found["rows"][-1]
    assert total["format"] == "all" and total["mutants"] == 2000
    assert total["pixels"] > 200 and total["corrupt"] > 200
