from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from benchmarks import measure

# A grandchild in a session of its own that takes memory and processor time.
_HUNGRY = """
import time
block = bytearray(150 * 2**20)
while time.process_time() < 1:
    pass
time.sleep(0.5)
"""
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_HUNGRY!r}], start_new_session=True)
"""


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def before() -> set[psutil.Process]:
    """Children that other tests have left, such as a server that forks processes."""
    return set(psutil.Process().children())


def test_counts_a_grandchild() -> None:
    usage = measure.run(_python(_PARENT + "child.wait()\nprint('done')"))
    assert usage.output == "done\n" and usage.returncode == 0
    assert 1 <= usage.cpu_seconds < 3
    assert 150 < usage.peak_mib < 300
    assert usage.seconds >= 1.5


def test_counts_a_daemon_that_outlives_the_command(before: set[psutil.Process]) -> None:
    usage = measure.run(_python(_PARENT + "import time\ntime.sleep(0.5)"))
    assert usage.cpu_seconds >= 1
    assert not set(psutil.Process().children()) - before


def test_counts_a_child_that_nobody_waits_for() -> None:
    # The kernel forgets the time of children of a process that ignores them.
    ignoring = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    waiting = "import time\nwhile child.poll() is None:\n    time.sleep(0.05)"
    usage = measure.run(_python(ignoring + _PARENT + waiting))
    assert usage.cpu_seconds >= 0.7


def test_counts_shared_memory_once() -> None:
    code = """
import mmap, os, time
block = mmap.mmap(-1, 100 * 2**20)
block[:] = bytes(len(block))
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        sum(block[::4096])
        time.sleep(1)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""
    assert 100 < measure.run(_python(code)).peak_mib < 280


def test_failure_tells_the_end_of_stderr() -> None:
    code = "import sys\nprint('early' + 5000 * ' ', file=sys.stderr)\nraise ValueError('at last')"
    with pytest.raises(RuntimeError, match="ended with 1") as caught:
        measure.run(_python(code))
    assert "ValueError: at last" in str(caught.value)
    assert "early" not in str(caught.value).split("ended with 1", 1)[1]


def test_timeout_kills(before: set[psutil.Process]) -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="took over 1 seconds"):
        measure.run(_python("import time\ntime.sleep(60)"), timeout=1)
    assert time.monotonic() - start < 20
    assert not set(psutil.Process().children()) - before


def test_environment_is_added() -> None:
    code = "import os\nprint(os.environ['NEW'], len(os.environ['PATH']))"
    assert measure.run(_python(code), env={"NEW": "yes"}).output == (
        f"yes {len(os.environ['PATH'])}\n"
    )


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    measure.print_table([{"name": "a", "rate": 123.4}, {"name": "bc", "rate": None, "x": 0.5}])
    assert capsys.readouterr().out.splitlines() == [
        "name  rate    x",
        "a      123",
        "bc       -  0.5",
    ]


def test_machine_names_versions() -> None:
    machine = measure.machine()
    assert machine["cores"] >= 1 and machine["versions"]["apache-beam"]
