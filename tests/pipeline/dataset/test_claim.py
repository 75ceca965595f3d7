"""One launcher a run: who is first, who is dead, and what the second one is told."""

import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from image_features.errors import RunHeldError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.claim import Claim, is_held
from image_features.pipeline.dataset.layout import CLAIM_FILE
from image_features.pipeline.dataset.run import read_record
from image_features.pipeline.launch import prepare
from tests import images, tools
from tests.http_server import ImageServer


def won(staging):
    try:
        Claim(staging).take()
    except RunHeldError:
        return False
    return True


def hold_until_killed(staging, ready):
    Claim(staging).take()
    ready.set()
    time.sleep(60)


@pytest.fixture
def staging(tmp_path):
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


def left_by(staging, **change):
    """A claim with something changed, as another holder would have left it."""
    path = staging / CLAIM_FILE
    path.unlink(missing_ok=True)
    Claim(str(staging)).take()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize("before", ["nothing", "a dead one's"])
def test_of_many_at_once_one_wins(staging, before):
    for _ in range(20):
        if before == "nothing":
            (staging / CLAIM_FILE).unlink(missing_ok=True)
        else:
            left_by(staging, expires=0)
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(won, [str(staging)] * 16)) == 1


def test_a_killed_holder_is_known_to_be_dead(staging):
    ready = multiprocessing.get_context("spawn").Event()
    holder = multiprocessing.get_context("spawn").Process(
        target=hold_until_killed, args=(str(staging), ready)
    )
    holder.start()
    assert ready.wait(60)
    assert not won(str(staging))
    holder.kill()
    holder.join()
    assert won(str(staging))


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({"process": 2**22 + 1}, True),  # Linux gives no number as high.
        ({"process": 2**22 + 1, "host": "elsewhere"}, False),
        # Another container of the same name, or another boot of a machine of this name.
        ({"process": 2**22 + 1, "space": "other"}, False),
        ({"process": 2**22 + 1, "space": None}, False),  # An earlier version has written it.
        # The number was given to another process since.
        ({"process_started": "1"}, True),
    ],
)
def test_a_number_of_a_process_means_something_on_its_machine_only(staging, change, taken):
    left_by(staging, **change)
    assert won(str(staging)) is taken


@pytest.mark.skipif(not shutil.which("unshare"), reason="There is no unshare here.")
def test_a_living_holder_in_another_container_keeps_its_run(staging):
    """The holder's number is that of no process outside of its container."""
    free = next(number for number in range(30_000, 1, -1) if not os.path.exists(f"/proc/{number}"))
    script = (
        "import os, time\n"
        "from image_features.pipeline.dataset.claim import Claim\n"
        f"open('/proc/sys/kernel/ns_last_pid', 'w').write({str(free - 1)!r})\n"
        "if os.fork() == 0:\n"
        f"    Claim({str(staging)!r}).take()\n"
        "    print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    command += ["--mount-proc", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout.readline() != "held\n":
                pytest.skip("This machine makes no containers.")
            found = json.loads((staging / CLAIM_FILE).read_text())
            assert (found["host"], found["process"]) == (platform.node(), free)
            assert not won(str(staging))
            assert is_held(str(staging))
        finally:
            holder.kill()


def test_a_holder_that_nobody_has_waited_for_is_dead(staging):
    script = f"from tests.pipeline.dataset.test_claim import Claim; Claim({str(staging)!r}).take()"
    with subprocess.Popen([sys.executable, "-c", script]) as holder:
        tools.wait_until(lambda: (staging / CLAIM_FILE).exists(), "the claim")
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert won(str(staging))


def test_a_holder_elsewhere_is_dead_when_its_time_is_past(staging):
    left_by(staging, host="elsewhere", process=1)
    with pytest.raises(RunHeldError, match=r"elsewhere \(process 1\) works on it since 20"):
        Claim(str(staging)).take()
    left_by_time = json.loads((staging / CLAIM_FILE).read_text())
    assert left_by_time["expires"] > time.time() + 60
    (staging / CLAIM_FILE).write_text(json.dumps({**left_by_time, "expires": time.time() - 1}))
    assert won(str(staging))


def test_a_claim_that_is_kept_outlives_its_lease(staging, monkeypatch):
    first = Claim(str(staging), lease=0.4)
    first.take()
    with first.kept():
        for _ in range(10):
            time.sleep(0.1)
            assert not won(str(staging))
    assert won(str(staging))


def test_a_claim_ends_with_its_staging_directory(staging, caplog):
    claim = Claim(str(staging), lease=0.2)
    claim.take()
    with claim.kept():
        for path in staging.iterdir():
            path.unlink()
        staging.rmdir()
        time.sleep(0.3)
    assert not staging.exists()
    assert caplog.records == []


@pytest.mark.parametrize(
    "data", [b"", b'{"hol', b"[]", b"{}", b"\0" * 300, b"\xff\xfe", b"[" * 99999, b'{"holder": 1}']
)
def test_a_claim_that_a_crash_has_spoiled_is_nobodys(staging, data):
    (staging / CLAIM_FILE).write_bytes(data)
    assert not is_held(str(staging))
    assert won(str(staging))


@pytest.mark.parametrize("moment", ["before entering", "before claiming"])
def test_a_run_that_another_has_committed_meanwhile_is_done(tmp_path, monkeypatch, capsys, moment):
    photos = images.write_noise(tmp_path / "photos", 2)
    arguments = ["--model=untrained", f"--input={photos}", f"--output={tmp_path}/out"]
    arguments = ["extract", *arguments, "--run_id=run"]
    (tmp_path / "out" / "run" / ".staging").mkdir(parents=True)
    owner, name = (prepare, "begin_attempt") if moment == "before entering" else (Claim, "take")
    original = getattr(owner, name)

    def late(*details):
        monkeypatch.setattr(owner, name, original)
        assert cli.main(arguments) == 0
        return original(*details)

    monkeypatch.setattr(owner, name, late)
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/out/run is committed already."
    assert not (tmp_path / "out" / "run" / ".staging").exists()


@pytest.mark.slow
def test_two_launchers_do_the_work_once(tmp_path):
    with ImageServer({"a.jpg": images.encode(images.noise(1))}) as server:
        manifest = tmp_path / "m.txt"
        manifest.write_text("\n".join(server.url(f"held/a.jpg?{i}") for i in range(5)))
        command = [sys.executable, "-m", "image_features", "extract", "--model=untrained"]
        command += [f"--input={manifest}", f"--output={tmp_path}/out", "--run_id=run"]
        command += ["--allow_private_hosts"]
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            tools.wait_until(lambda: server.hits.total() > 0, "the first launcher's work")
            second = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert second.returncode == 4
            says = f"{platform.node()} (process {first.pid}) works on it since"
            assert says in second.stderr.splitlines()[-1]
            server.held.set()
            _, error = first.communicate(timeout=60)
        finally:
            first.kill()
        assert first.returncode == 0, error
        assert read_record(str(tmp_path / "out" / "run"))["counts"]["rows_out"] == 5
        assert server.hits.total() == 5
        third = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (third.returncode, server.hits.total()) == (0, 5)
