"""The main job on a Flink cluster of separate processes, and what it does when they die."""

import os
import signal
import subprocess
import sys
import time

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from tests import archives, images, runs, tools, written
from tests.engines import flink, launchers
from tests.engines.launchers import SECONDS, end, finish
from tests.http_server import ImageServer

ROWS = 1200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with flink.cluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture
def whole_cluster(cluster):
    """With all its TaskManagers, whatever a test before has done to them."""
    cluster.managers = [manager for manager in cluster.managers if manager.poll() is None]
    while len(cluster.managers) < 2:
        cluster.add_manager()
    cluster.wait_for_slots(2)
    yield cluster


@pytest.fixture(scope="module")
def server():
    files = {f"{i}.jpg": images.encode(images.noise(i)) for i in range(20)}
    with ImageServer(files) as server:
        yield server


@pytest.fixture
def manifest(tmp_path, server):
    """Rows of one server, most of them fast, and some so slow that a test can step in."""
    path = tmp_path / "m.txt"
    path.write_text("\n".join(server.url(f"{i % 20}.jpg?{i}") for i in range(ROWS)))
    return path


@pytest.fixture
def held(tmp_path, server):
    """The same, with rows that are answered when `server.held` is set: a run to interfere with."""
    path = tmp_path / "held.txt"
    rows = [server.url(f"{i % 20}.jpg?{i}") for i in range(ROWS)]
    rows += [server.url(f"held/{i % 20}.jpg?{i}") for i in range(40)]
    path.write_text("\n".join(rows))
    server.held.clear()
    yield path
    server.held.set()


def local(*options):
    command = [sys.executable, "-m", "image_features", "extract", "--model=untrained", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def arguments(manifest, output, *options):
    return [
        f"--input={manifest}",
        f"--output={output}",
        "--run_id=run",
        "--num_shards=4",
        "--allow_private_hosts",
        *options,
    ]


def begin(cluster, *options):
    return launchers.begin(flink.command(cluster, *options))


def complete(output, rows=ROWS):
    """Asserts a verified run that has every row once."""
    assert inspection.verify(latest_run(str(output))) == []
    counts = read_record(str(output / "run"))["counts"]
    assert counts["rows_in"] == counts["rows_out"] == rows
    uris = dataset.load_numpy(str(output)).uris
    assert len(set(uris)) == len(uris) == rows
    assert not (output / "run" / ".staging").exists()


def hits(server):
    return server.hits.total()


def under_way(server, before, count=200):
    """Waits until a run has fetched some images and waits for those that are held."""
    tools.wait_until(lambda: hits(server) > before + count, "images fetched", SECONDS)
    time.sleep(1)


def test_the_same_bytes_as_a_local_run(whole_cluster, manifest, tmp_path):
    members = {f"{i}.jpg": images.encode(images.noise(i)) for i in range(60)}
    (tmp_path / "a.tar").write_bytes(archives.tar(members))
    with manifest.open("a") as file:
        file.write("\na.tar\n")
    code, output, error = finish(begin(whole_cluster, *arguments(manifest, tmp_path / "flink")))
    assert code == 0, error
    assert "submitted job " in output
    assert f"http://{whole_cluster.address}/#/job/running/" in output
    complete(tmp_path / "flink", ROWS + len(members))
    assert local(*arguments(manifest, tmp_path / "local")).returncode == 0
    assert runs.shard_files(f"{tmp_path}/flink/run") == runs.shard_files(f"{tmp_path}/local/run")


@pytest.mark.parametrize(("kind", "pattern"), [("parquet", "*.parquet"), ("lance", "data/*")])
def test_exports_are_the_same_bytes_as_local_ones(whole_cluster, tmp_path, kind, pattern):
    found = {}
    for name, options in (("flink", flink.options_of(whole_cluster)), ("local", [])):
        output, target = tmp_path / name, tmp_path / f"{name}-exported"
        written.write_run(output, "1", {f"{i}": i for i in range(50)}, shards=3)
        export = ["export", str(output), str(target), f"--format={kind}", *options]
        assert cli.main([*export, "--since=last"]) == 0
        written.write_run(output, "2", {"3": 4.5, "50": 50}, gone=["7"], day=2)
        assert cli.main([*export, "--since=last"]) == 0
        found[name] = [path.read_bytes() for path in sorted(target.rglob(pattern))]
    assert found["flink"] == found["local"]
    assert len(found["local"]) >= 4
    if kind == "lance":
        import lance

        for name in found:
            table = lance.dataset(str(tmp_path / f"{name}-exported" / "vectors.lance"))
            assert (table.version, table.count_rows()) == (2, 50)
            assert "/photos/7.jpg" not in table.to_table(columns=["uri"])["uri"].to_pylist()


@pytest.mark.parametrize("victim", ["worker", "manager"])
def test_a_killed_process_costs_nothing(whole_cluster, server, held, tmp_path, victim):
    before = hits(server)
    # As many slots as one TaskManager has: the cluster can do without the other one.
    process = begin(whole_cluster, *arguments(held, tmp_path / "out", "--parallelism=2"))
    under_way(server, before)
    if victim == "worker":
        whole_cluster.workers()[0].kill()
    else:
        os.killpg(whole_cluster.managers[0].pid, signal.SIGKILL)
        whole_cluster.managers[0].wait()
    server.held.set()
    code, _, error = finish(process)
    assert code == 0, error
    complete(tmp_path / "out", ROWS + 40)


@pytest.mark.parametrize("victim", ["launcher", "with its job server"])
def test_a_killed_launcher_leaves_no_half_run(whole_cluster, server, held, tmp_path, victim):
    before = hits(server)
    process = begin(whole_cluster, *arguments(held, tmp_path / "out"))
    under_way(server, before)
    if victim == "launcher":
        process.kill()
    else:
        end(process)
    server.held.set()
    process.wait()
    tools.wait_until(lambda: "RUNNING" not in whole_cluster.jobs(), "the job's end", SECONDS)
    end(process)
    # Whether the job has committed without it, or is taken up where it was.
    code, _, error = finish(begin(whole_cluster, *arguments(held, tmp_path / "out")))
    assert code == 0, error
    complete(tmp_path / "out", ROWS + 40)


def test_no_wait_leaves_the_job_to_the_cluster(whole_cluster, manifest, tmp_path):
    options = [*arguments(manifest, tmp_path / "out"), "--no_wait"]
    code, output, error = finish(begin(whole_cluster, *options))
    assert code == 0, error
    assert output.startswith("submitted job ")
    tools.wait_until(
        lambda: read_record(str(tmp_path / "out" / "run")) is not None, "the commit", SECONDS
    )
    tools.wait_until(lambda: not (tmp_path / "out/run/.staging").exists(), "staging's end")
    complete(tmp_path / "out")


def test_an_output_that_cannot_be_written_ends_the_job_cleanly(
    whole_cluster, server, held, tmp_path
):
    before = hits(server)
    process = begin(whole_cluster, *arguments(held, tmp_path / "out"))
    under_way(server, before)
    run = tmp_path / "out" / "run"
    # Root may write to read-only directories; to an immutable one not even root may.
    frozen = subprocess.run(["chattr", "+i", str(run)], capture_output=True)
    if frozen.returncode:
        end(process)
        pytest.skip(f"This disk has no immutable directories: {frozen.stderr.decode()}")
    try:
        server.held.set()
        code, _, error = finish(process)
    finally:
        subprocess.run(["chattr", "-i", str(run)], check=True)
    assert code == 1
    # Above it is what the engine says, with the worker's traceback.
    says, advice = error.splitlines()[-2:]
    assert "To go on where this run ended: " in advice
    assert says.startswith("image-features: The run run failed and is not committed: ")
    assert "Operation not permitted" in says
    assert read_record(str(run)) is None
    code, _, error = finish(begin(whole_cluster, *arguments(held, tmp_path / "out")))
    assert code == 0, error
    complete(tmp_path / "out", ROWS + 40)


def test_an_image_server_that_is_down_for_a_while(whole_cluster, server, manifest, tmp_path):
    before = hits(server)
    options = arguments(manifest, tmp_path / "out", "--fetch_attempts=12")
    process = begin(whole_cluster, *options)
    tools.wait_until(lambda: hits(server) > before, "the first image", SECONDS)
    server.down.set()
    time.sleep(20)
    server.down.clear()
    code, _, error = finish(process)
    assert code == 0, error
    complete(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--flink_master=localhost:1"], "cannot be used"),
        (["--flink_version=1.20"], "pass --flink_version=1.19."),
        (["--flink_job_server_jar=/no/such.jar"], "does not exist"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_said_before_any_work(
    whole_cluster, manifest, tmp_path, options, says
):
    code, _, error = finish(begin(whole_cluster, *arguments(manifest, tmp_path / "out"), *options))
    assert code == 2
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
