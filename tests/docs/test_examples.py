"""Every example of the documentation, held to what is installed: what can be run here is run.

The Python blocks of docs/library.md have a test of their own, test_library_examples.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import StandardOptions

from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.parsing import make_parser, parse_extract, parse_with_beam
from image_features.pipeline.dataset.run import committed_runs, latest_run
from tests.docs.examples import (
    PAGES,
    ROOT,
    commands,
    inline_commands,
    named,
    python_blocks,
    shell_blocks,
)
from tests.docs.test_library_examples import RUNNER

# How many blocks each page has of Python, and of our command. A new one is run below, or is among
# those whose options are parsed only, since they name buckets, clusters or other people's files.
PYTHON = {
    "README.md": 1,
    "docs/data_format.md": 3,
    "docs/export.md": 1,
    "docs/first_run.md": 1,
    "docs/library.md": 8,
}
RUN = {
    "README.md": 1,
    "docs/first_run.md": 3,
    "docs/index.md": 1,
    "docs/operations.md": 2,
    "docs/search_and_report.md": 2,
}
PARSED = {
    "README.md": 3,
    "deploy/flink/README.md": 2,
    "docs/dedup.md": 3,
    "docs/engines.md": 1,
    "docs/export.md": 5,
    "docs/manifests.md": 2,
    "docs/models.md": 3,
    "docs/nightly.md": 4,
    "docs/pack.md": 3,
}


def counted(found: dict[Path, int]) -> dict[str, int]:
    return {named(page): count for page, count in found.items() if count}


def test_every_block_is_run_or_parsed():
    assert counted({page: len(python_blocks(page)) for page in PAGES}) == PYTHON
    both = {page: RUN.get(page, 0) + PARSED.get(page, 0) for page in {*RUN, *PARSED}}
    assert counted({page: len(shell_blocks(page)) for page in PAGES}) == both


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_has_options_that_there_are(page):
    called = [words for block in shell_blocks(page) for words in commands(block)]
    for name, *arguments in [*called, *inline_commands(page)]:
        if name == "COMMAND":
            continue
        if "--help" in arguments or name == "extract":
            parse_extract([word for word in arguments if word != "--help"])
            continue
        command = cli._command(name)
        if name in ("compact", "export", "gc", "pack"):
            parse_with_beam(name, command.add_arguments, arguments)
        else:
            make_parser(name, command.add_arguments).parse_args(arguments)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory after the commands of docs/first_run.md, line by line as they stand there."""
    place = tmp_path_factory.mktemp("first_run")
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StandardOptions, "DEFAULT_RUNNER", RUNNER)
        os.chdir(place)
        try:
            for block in shell_blocks(ROOT / "docs" / "first_run.md"):
                run_lines(block)
            yield place
        finally:
            os.chdir(before)


def run_lines(block: str) -> None:
    for line in block.splitlines():
        if called := commands(line):
            assert cli.main(called[0]) == 0, line
        else:
            subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL)


def run_python(block: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(block, "example", "exec"), names)
    return names


def test_the_first_run(first_run, capsys):
    second, first = committed_runs("features")
    assert (first.rows, second.rows) == (13, 13)
    assert second.counts.failed_by_reason == {"not_an_image": 1}
    (block,) = python_blocks(ROOT / "docs" / "first_run.md")
    run_python(block)
    shape, uri = capsys.readouterr().out.splitlines()
    assert f"print(arrays.features.shape)  # {shape}" in block.replace("(13, 1280)", shape)
    assert Path(uri).parent.samefile("photographs")


def test_the_readmes_python(first_run):
    names = run_python(python_blocks(ROOT / "README.md")[0])
    assert names["rows"]["image/features"].shape == (13, 1280)
    assert names["arrays"].features.shape == (13, 1280)


def test_the_ways_to_read(first_run):
    pytest.importorskip("tensorflow_datasets", reason="It comes with the extra [tfds].")
    ours, tfds, plain = python_blocks(ROOT / "docs" / "data_format.md")
    assert run_python(ours)["batch"]["image/features"].shape == (13, 1280)
    run = latest_run("features").run_id
    row = run_python(re.sub(r"(?<=features/)\w+-?\w*", run, tfds))["row"]
    assert row["image"]["features"].shape == (1280,)
    read = plain.replace("tf.data.TFRecordDataset(", "found = tf.data.TFRecordDataset(")
    (rows,) = run_python(read)["found"]
    assert rows["image/features"].shape == (26, 1280)


def test_the_readmes_inspect(first_run, capsys):
    block, *_ = shell_blocks(ROOT / "README.md")
    run_lines(block.splitlines()[-9].removeprefix("$ "))
    shown = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    # The page shows a run without failures.
    shown.remove("failed")
    assert shown == [line.split(" ")[0] for line in block.splitlines()[-8:]]


def test_looking_at_a_dataset(first_run, capsys):
    report, search = shell_blocks(ROOT / "docs" / "search_and_report.md")
    (first_run / "photographs" / "cat.jpg").rename("chihuahua.jpg")
    run_lines(report.splitlines()[-1])
    assert (first_run / "report.html").exists()
    capsys.readouterr()
    run_lines(search.splitlines()[0].removeprefix("$ "))
    assert len(capsys.readouterr().out.splitlines()) == len(search.splitlines()) - 1


def test_what_merges_and_tidies_up(first_run, capsys):
    merge, loop = shell_blocks(ROOT / "docs" / "operations.md")
    run_lines(merge.replace("gs://b/features", "features"))
    latest = latest_run("features")
    assert (len(latest.files()), latest.rows) == (100, 13)
    called = commands(loop)[0]
    for run in committed_runs("features"):
        assert cli.main([run.directory if word == "$run" else word for word in called]) == 0


def test_the_first_page(first_run):
    (block,) = shell_blocks(ROOT / "docs" / "index.md")
    (first_run / "photos").symlink_to("photographs")
    run_lines(block.splitlines()[-1])
