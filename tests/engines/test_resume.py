"""Runs whose launcher and job both die halfway, and that are taken up: there, or elsewhere."""

import json
import os
import re
import sys

import psutil
import pytest

from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.layout import STAGING_NAME
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.shards.pieces import BrokenPieceError, read_keys
from image_features.transforms.stores.uris import image_key
from tests import images, runs, tools
from tests.engines import flink
from tests.engines.launchers import SECONDS, begin, end, finish
from tests.http_server import ImageServer

ROWS = 1200
HELD = 40
ENOUGH = ROWS // 3
PROGRAMS = os.path.dirname(sys.executable)


@pytest.fixture
def server():
    files = {f"{i}.jpg": images.encode(images.noise(i)) for i in range(20)}
    with ImageServer(files) as server:
        yield server
        server.held.set()


@pytest.fixture
def manifest(tmp_path, server):
    """Rows of which some are answered when `server.held` is set, and one never is."""
    path = tmp_path / "m.txt"
    rows = [server.url(f"{i % 20}.jpg?{i}") for i in range(ROWS)]
    rows += [server.url(f"held/{i % 20}.jpg?{i}") for i in range(HELD)]
    path.write_text("\n".join([*rows, server.url("gone.jpg")]))
    return path


def arguments(manifest, output):
    return [
        f"--input={manifest}",
        f"--output={output}",
        "--run_id=run",
        "--num_shards=8",
        "--allow_private_hosts",
    ]


def locally(*options):
    return [f"{PROGRAMS}/image-features", "extract", "--model=untrained", *options]


def on_prism(*options):
    worker = json.dumps({"command": f"{PROGRAMS}/image-features-worker"})
    return locally(
        "--runner=PrismRunner",
        f"--prism_location={tools.go_program(tools.PRISM)}",
        "--environment_type=PROCESS",
        f"--environment_config={worker}",
        *options,
    )


def left(output):
    """The keys of rows in whole pieces."""
    keys = set()
    for path in (output / "run" / STAGING_NAME).glob("features-*/*"):
        # One that is written at this moment, or was when its writer died.
        try:
            keys |= set(read_keys(str(path)))
        except (BrokenPieceError, FileNotFoundError):
            continue
    return keys


def interrupted(command, output, server, kill):
    """Begins a run, and ends it and its job in its middle; returns the keys of what is done."""
    process = begin(command)
    try:
        tools.wait_until(lambda: len(left(output)) > ENOUGH, "pieces", SECONDS)
        assert process.poll() is None
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        end(process)
        for child in started:  # Some are the leaders of other groups.
            if child.is_running():
                child.kill()
        process.wait()
        kill()
    assert read_record(str(output / "run")) is None
    server.held.set()
    return left(output)


def taken_up(command, output, server, kept):
    """Takes a run up; asserts that what was kept is not fetched again. Returns what is logged."""
    done = [path for path in server.hits if image_key(server.url(path)) in kept]
    assert len(done) == len(kept) > ENOUGH
    before = {path: server.hits[path] for path in done}
    code, _, error = finish(begin(command))
    assert code == 0, error
    assert "Takes up the run run where an earlier attempt has left it." in error
    assert {path: server.hits[path] for path in done} == before
    return error


def rows_taken_over(log):
    """Rows by what the events of this name say; each of the two attempts has told one a shard."""
    # Workers tell it as JSON, and a launcher on this machine in words.
    told = r'"event": "taken_over".*?"rows": (\d+)|an earlier attempt left (\d+) rows'
    return sum(int(rows or words) for rows, words in re.findall(told, log))


def as_undisturbed(manifest, output, calm):
    """Asserts that a run is whole, and has the bytes of one that nothing has happened to."""
    assert finish(begin(locally(*arguments(manifest, calm))))[0] == 0
    assert inspection.verify(latest_run(str(output))) == []
    counts = read_record(str(output / "run"))["counts"]
    assert (counts["rows_out"], counts["failed_by_reason"]) == (ROWS + HELD, {"not_found": 1})
    assert len(set(dataset.load_numpy(str(output)).uris)) == ROWS + HELD
    assert runs.shard_files(f"{output}/run") == runs.shard_files(f"{calm}/run")
    assert not (output / "run" / STAGING_NAME).exists()


def test_a_job_that_was_cancelled_is_taken_up_on_its_cluster(tmp_path, server, manifest):
    output = tmp_path / "out"
    (tmp_path / "flink").mkdir()
    with flink.cluster(tmp_path / "flink") as cluster:
        command = flink.command(cluster, *arguments(manifest, output))
        kept = interrupted(command, output, server, cluster.cancel)
        taken_up(command, output, server, kept)
        assert rows_taken_over(cluster.logs()) == len(kept)
    as_undisturbed(manifest, output, tmp_path / "calm")


def test_a_job_whose_cluster_died_is_taken_up_without_one(tmp_path, server, manifest):
    output = tmp_path / "out"
    (tmp_path / "flink").mkdir()
    with flink.cluster(tmp_path / "flink") as cluster:
        command = flink.command(cluster, *arguments(manifest, output))
        kept = interrupted(command, output, server, cluster.stop)
    error = taken_up(locally(*arguments(manifest, output)), output, server, kept)
    assert rows_taken_over(error) == len(kept)
    as_undisturbed(manifest, output, tmp_path / "calm")


@pytest.mark.parametrize("heir", [on_prism, locally])
def test_a_prism_that_died_is_taken_up(tmp_path, server, manifest, heir):
    output = tmp_path / "out"
    options = arguments(manifest, output)
    kept = interrupted(on_prism(*options), output, server, lambda: None)
    error = taken_up(heir(*options), output, server, kept)
    if heir is locally:
        assert rows_taken_over(error) == len(kept)
    as_undisturbed(manifest, output, tmp_path / "calm")


def test_what_was_begun_here_is_taken_up_on_an_engine(tmp_path, server, manifest):
    output = tmp_path / "out"
    options = arguments(manifest, output)
    kept = interrupted(locally(*options), output, server, lambda: None)
    taken_up(on_prism(*options), output, server, kept)
    as_undisturbed(manifest, output, tmp_path / "calm")
