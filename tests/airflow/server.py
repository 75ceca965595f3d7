"""An Airflow of separate processes: API server, DAG processor, scheduler with LocalExecutor."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import tools
from tests.airflow.settings import DAG_FILE, DAG_ID, environment

_ENDED = {"success", "failed"}


class Server:
    """Airflow as a user meets it: its command line and its API.

    Args:
      home: The directory in which it keeps all it has.
    """

    def __init__(self, home: pathlib.Path) -> None:
        self._home = home
        self._programs = tools.airflow()
        self._port = tools.free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = ""
        address = f"http://127.0.0.1:{self._port}"
        self._environment = environment(
            home,
            self._programs,
            core__executor="LocalExecutor",
            core__parallelism="3",
            core__simple_auth_manager_all_admins="True",
            core__execution_api_server_url=f"{address}/execution/",
            api__base_url=address,
            api__host="127.0.0.1",
            api__port=str(self._port),
            api__secret_key="s" * 32,
            api_auth__jwt_secret="j" * 64,
            scheduler__enable_health_check="False",
        )

    @contextlib.contextmanager
    def running(self, variable: dict[str, Any]) -> Iterator[Server]:
        """Runs everything, with the Variable set and the DAG known and still paused."""
        (self._home / "dags").mkdir()
        shutil.copy(DAG_FILE, self._home / "dags")
        self.command("db", "migrate")
        try:
            self._start("api-server")
            self._start("scheduler")
            self._await(lambda: self._url("/auth/token"), "Airflow's API")
            with urllib.request.urlopen(self._url("/auth/token"), timeout=30) as answer:
                self._token = json.load(answer)["access_token"]
            value = {"key": "image_features", "value": json.dumps(variable)}
            self.call("POST", "variables", value)
            self._start("dag-processor")
            tools.wait_until(lambda: bool(self.call("GET", "dags")["dags"]), "the DAG", 120)
            yield self
        finally:
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, name: str) -> None:
        with open(self._home / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [self._programs / "airflow", name],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def _await(self, url: Callable[[], str], what: str) -> None:
        tools.wait_until(lambda: tools.answers(url()), what, 120)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def command(self, *arguments: str) -> str:
        """Runs `airflow ARGUMENTS`; returns what it says."""
        process = subprocess.run(
            [self._programs / "airflow", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Makes a request to the API."""
        request = urllib.request.Request(
            self._url(f"/api/v2/{path}"),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def run_of(self, date: str) -> dict[str, Any] | None:
        """Returns the run of a date, however it came to be."""
        runs = self.call("GET", f"dags/{DAG_ID}/dagRuns")["dag_runs"]
        return next((run for run in runs if str(run["logical_date"]).startswith(date)), None)

    def run_path(self, run_id: str) -> str:
        """Returns the path of a run in the API."""
        return f"dags/{DAG_ID}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

    def trigger(self, date: str | None) -> str:
        """Triggers a run by hand; returns its id."""
        logical = f"{date}T00:00:00Z" if date else None
        return str(
            self.call("POST", f"dags/{DAG_ID}/dagRuns", {"logical_date": logical})["dag_run_id"]
        )

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Returns the task instances of a run by task."""
        found = self.call("GET", f"{self.run_path(run_id)}/taskInstances")["task_instances"]
        return {each["task_id"]: each for each in found}

    def states(self, run_id: str) -> dict[str, str | None]:
        """Returns the states of a run's tasks."""
        return {name: each["state"] for name, each in self.tasks(run_id).items()}

    def ended(self, run_id: str, seconds: float = 180) -> str:
        """Waits for the end of a run; returns its state."""
        state = ""

        def has_ended() -> bool:
            nonlocal state
            state = self.call("GET", self.run_path(run_id))["state"]
            return state in _ENDED

        try:
            tools.wait_until(has_ended, f"the end of {run_id}", seconds)
        except AssertionError:
            pytest.fail(f"{run_id} does not end: {self.states(run_id)}")
        return state

    def log(self, run_id: str, task: str, attempt: int = 1) -> str:
        """Returns what an attempt at a task has logged."""
        lines = self.call("GET", f"{self.run_path(run_id)}/taskInstances/{task}/logs/{attempt}")
        return json.dumps(lines)

    def result(self, run_id: str, task: str) -> Any:
        """Returns what a task has returned."""
        path = f"{self.run_path(run_id)}/taskInstances/{task}/xcomEntries/return_value"
        return self.call("GET", f"{path}?deserialize=true")["value"]
