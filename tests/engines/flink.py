"""A Flink cluster of separate processes, that a test may kill one by one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil

from tests import tools

VERSION = "1.19"  # The version is that of deploy/flink/cluster.sh and of job_server.xml.
SLOTS = 2  # A TaskManager has so many by deploy/flink/config.yaml.
ROOT = pathlib.Path(__file__).parents[2]
# The path tells our workers from those of another checkout, whose tests may run beside these.
_WORKER = os.path.realpath(os.path.join(sys.prefix, "bin", "image-features-worker"))
# Flink would notice a dead TaskManager after most of a minute.
_IMPATIENT = {"heartbeat.interval": 1000, "heartbeat.timeout": 8000}


class Cluster:
    """A JobManager and its TaskManagers.

    Attributes:
      address: The HOST:PORT of the REST API.
      managers: The processes of the TaskManagers.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        tools.program("java")
        self._rest, self._rpc = tools.free_port(), tools.free_port()
        self.address = f"localhost:{self._rest}"
        self.managers: list[subprocess.Popen[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, managers: int) -> None:
        self._processes.append(self._launch("jobmanager"))
        tools.wait_until(
            lambda: tools.answers(f"http://{self.address}/overview"), "JobManager", 300
        )
        for _ in range(managers):
            self.add_manager()
        self.wait_for_slots(managers)

    def wait_for_slots(self, managers: int) -> None:
        """Waits until so many TaskManagers have offered what they have."""
        slots = SLOTS * managers
        tools.wait_until(lambda: self.ask("/overview")["slots-total"] >= slots, "slots")

    def add_manager(self) -> None:
        self.managers.append(self._launch("taskmanager"))
        self._processes.append(self.managers[-1])

    def _launch(self, role: str) -> subprocess.Popen[bytes]:
        settings: dict[str, Any] = {
            **_IMPATIENT,
            "rest.port": self._rest,
            "jobmanager.rpc.port": self._rpc,
            "restart-strategy.fixed-delay.delay": "1 s",
        }
        command = ["bash", str(ROOT / "deploy" / "flink" / "cluster.sh"), role]
        command += [f"-D{name}={value}" for name, value in settings.items()]
        variables = {
            **os.environ,
            "FLINK_DIR": str(tools.CACHE / "flink"),
            "FLINK_RUN_DIR": str(self._directory),
            "PYTHON": sys.executable,
        }
        name = f"{role}-{len(self._processes)}.log"
        with open(self._directory / name, "wb") as log:
            return subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for worker in self.workers():
            worker.kill()

    def ask(self, path: str) -> dict[str, Any]:
        """Returns the answer of the REST API."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return dict(json.load(answer))

    def cancel(self) -> None:
        """Cancels all jobs, and waits for their end."""
        for job in self.ask("/jobs/overview")["jobs"]:
            url = f"http://{self.address}/jobs/{job['jid']}?mode=cancel"
            if job["state"] == "RUNNING":
                urllib.request.urlopen(urllib.request.Request(url, method="PATCH"), timeout=10)
        ended = {"CANCELED", "FAILED", "FINISHED"}
        tools.wait_until(lambda: set(self.jobs()) <= ended, "the jobs' end")

    def logs(self) -> str:
        """Returns what the processes and their workers have logged so far."""
        return "".join(path.read_text() for path in sorted(self._directory.glob("*.log")))

    def jobs(self) -> list[str]:
        """Returns the states of all jobs."""
        return [job["state"] for job in self.ask("/jobs/overview")["jobs"]]

    def workers(self) -> list[psutil.Process]:
        """Returns the Python workers of this cluster's jobs."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if _WORKER in map(os.path.realpath, process.info["cmdline"] or [])
        ]


@contextlib.contextmanager
def cluster(directory: pathlib.Path, managers: int = 2) -> Iterator[Cluster]:
    """Starts a cluster, and ends it with all of its processes."""
    made = Cluster(directory)
    try:
        made.start(managers)
        yield made
    finally:
        made.stop()


def command(cluster: Cluster, *options: str) -> list[str]:
    """Returns the command of `extract` on a cluster."""
    return [
        os.path.join(os.path.dirname(sys.executable), "image-features"),
        "extract",
        "--model=untrained",
        *options_of(cluster),
        *options,
    ]


def options_of(cluster: Cluster) -> list[str]:
    """Returns the options that submit a job to a cluster."""
    return [
        "--runner=FlinkRunner",
        f"--flink_master={cluster.address}",
        f"--flink_version={VERSION}",
        f"--flink_job_server_jar={tools.flink_job_server()}",
    ]
