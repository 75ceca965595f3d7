"""Nights that a real scheduler runs, with the real command line on real pictures."""

import contextlib
import json
import os
import pathlib
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from image_features.pipeline.dataset import reading as dataset
from tests import images, tools
from tests.airflow.server import Server
from tests.airflow.settings import DAG_ID

FIRST, SECOND = "2026-11-01", "2026-11-02"
EMPTY, SLOW = "2026-11-05", "2026-11-06"
SECRET = "hooks-a81bc7"
SCRIPT = pathlib.Path(sys.executable).with_name("image-features")
# The command line, with trouble where a file of the run's id asks for it.
EXECUTABLE = """#!/usr/bin/env bash
trouble={home}/trouble
for argument; do
  case $argument in --run_id=*) run=${{argument#*=}} ;; esac
done
if [ -e "$trouble/fail-$run" ]; then
  rm "$trouble/fail-$run"
  echo "image-features: a disk is full" >&2
  exit 1
elif [ -e "$trouble/slow-$run" ]; then
  trap 'touch "$trouble/told-$run"' TERM
  echo $$ > "$trouble/process-$run"
  for _ in {{1..600}}; do sleep 0.2; done
fi
exec {script} "$@"
"""


def write_image(path, seed):
    """A picture, or another one in its place."""
    path.write_bytes(images.encode(images.noise(seed)))
    return path


def write_manifest(home, date, paths):
    """A manifest as they should come: all of it at once."""
    part = home / "manifests" / "part"
    part.write_text("".join(f"{line}\n" for line in ("uri", *paths)))
    part.rename(part.with_name(f"{date}.csv"))


def counts(home, date):
    """What run.json says of a run."""
    return json.loads((home / "features" / date / "run.json").read_text())["counts"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("nights")
    for name in ("airflow", "images", "manifests", "trouble"):
        (home / name).mkdir()
    executable = home / "image-features"
    executable.write_text(EXECUTABLE.format(home=home, script=SCRIPT))
    executable.chmod(0o755)
    return home


@pytest.fixture(scope="module")
def notified():
    """Takes notifications, at an address that is a secret."""
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, json.loads(body)["run_id"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield types.SimpleNamespace(port=server.server_address[1], posted=posted)
    server.shutdown()


@pytest.fixture(scope="module")
def airflow(home, notified):
    address = f"http://127.0.0.1:{notified.port}/{SECRET}"
    variable = {
        "engine": "local",
        "manifest": str(home / "manifests" / "{{ ds }}.csv"),
        "output": str(home / "features"),
        "model": "untrained",
        "executable": str(home / "image-features"),
        "arguments": ["--error_budget=0.1", f"--notify={address}"],
        "poll_seconds": 10,
        "retry_seconds": 1,
    }
    with Server(home / "airflow").running(variable) as server:
        yield server


@pytest.fixture(scope="module")
def nights(home, airflow):
    """Two dates that are backfilled and the one that the scheduler adds, and how they went."""
    seen = types.SimpleNamespace()
    paths = [write_image(home / "images" / f"{i}.jpg", i) for i in range(4)]
    write_manifest(home, FIRST, paths)
    command = ["backfill", "create", "--dag-id", DAG_ID, "--max-active-runs", "1"]
    airflow.command(*command, "--from-date", FIRST, "--to-date", SECOND)
    airflow.call("PATCH", f"dags/{DAG_ID}", {"is_paused": False})

    seen.first = airflow.run_of(FIRST)["dag_run_id"]
    seen.first_state = airflow.ended(seen.first)
    seen.first_counts = counts(home, FIRST)

    seen.second = airflow.run_of(SECOND)["dag_run_id"]

    def waits(run_id):
        return airflow.states(run_id).get("wait_for_manifest") == "up_for_reschedule"

    tools.wait_until(lambda: waits(seen.second), "the second night's sensor", 60)
    seen.while_waiting = airflow.states(seen.second)
    write_image(paths[0], 100)
    paths += [write_image(home / "images" / f"{i}.jpg", i) for i in (4, 5)]
    write_manifest(home, SECOND, paths)
    seen.second_state = airflow.ended(seen.second)
    seen.second_counts = counts(home, SECOND)

    # Once a DAG is switched on, Airflow adds the latest night.
    runs = airflow.call("GET", f"dags/{DAG_ID}/dagRuns?run_type=scheduled")["dag_runs"]
    (scheduled,) = runs
    seen.latest, seen.date = scheduled["dag_run_id"], scheduled["logical_date"][:10]
    (home / "trouble" / f"fail-{seen.date}").touch()
    broken = home / "images" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    paths.append(write_image(home / "images" / "6.jpg", 6))
    write_manifest(home, seen.date, [*paths, broken])
    seen.latest_state = airflow.ended(seen.latest)
    return seen


def test_a_night_waits_for_its_manifest(nights):
    assert nights.while_waiting["check_settings"] == "success"
    assert nights.while_waiting["extract"] is None


def test_a_backfill_extracts_each_date(nights, airflow):
    assert (nights.first_state, nights.second_state) == ("success", "success")
    for run_id in (nights.first, nights.second):
        assert set(airflow.states(run_id).values()) == {"success"}


def test_only_what_is_new_or_changed_is_extracted(nights, home):
    first, second = nights.first_counts, nights.second_counts
    assert (first["rows_read"], first["rows_out"], first["rows_unchanged"]) == (4, 4, 0)
    assert (second["rows_read"], second["rows_out"], second["rows_unchanged"]) == (6, 3, 3)
    uris = [
        pathlib.Path(uri).name for uri in dataset.load_numpy(str(home / "features" / SECOND)).uris
    ]
    assert sorted(uris) == ["0.jpg", "4.jpg", "5.jpg"]


def test_the_nights_make_one_dataset(nights, home):
    uris = [pathlib.Path(uri).name for uri in dataset.load_numpy(str(home / "features")).uris]
    assert sorted(uris) == [f"{i}.jpg" for i in range(7)]


def test_counts_are_told_to_airflow(nights, airflow, home):
    assert airflow.result(nights.second, "committed") == nights.second_counts
    events = airflow.call("GET", "assets/events")["asset_events"]
    extras = {event["source_run_id"]: event["extra"] for event in events}
    told = extras[nights.second]
    assert told["directory"] == str(home / "features" / SECOND)
    assert told["counts"] == nights.second_counts


def test_where_to_notify_stays_a_secret(nights, airflow, notified):
    assert notified.posted == [(f"/{SECRET}", date) for date in (FIRST, SECOND, nights.date)]
    log = airflow.log(nights.second, "extract")
    shown = json.dumps(airflow.tasks(nights.second)["extract"]["rendered_fields"])
    assert "--error_budget=0.1" in log and "--error_budget=0.1" in shown
    assert SECRET not in log + shown + json.dumps(airflow.call("GET", f"dags/{DAG_ID}/tasks"))


def test_a_failed_attempt_is_taken_up_under_the_same_id(nights, airflow, home):
    tasks = airflow.tasks(nights.latest)
    assert (tasks["extract"]["state"], tasks["extract"]["try_number"]) == ("success", 2)
    first = airflow.log(nights.latest, "extract", 1)
    assert "extract failed; nothing is committed (exit code 1). image-features: a disk is" in first
    for attempt in (1, 2):
        assert f"--run_id={nights.date}" in airflow.log(nights.latest, "extract", attempt)


def test_a_night_over_its_budget_is_committed_and_seen(nights, airflow, home):
    assert nights.latest_state == "success"
    states = airflow.states(nights.latest)
    assert (states["committed"], states["within_budget"]) == ("success", "skipped")
    assert counts(home, nights.date)["rows_failed"] == 1
    assert "1 of 8 rows failed" in airflow.log(nights.latest, "within_budget")


def test_a_date_that_is_run_again_stays_as_it_is(nights, airflow, home):
    run = home / "features" / FIRST / "run.json"
    before = run.stat()
    airflow.call("POST", f"{airflow.run_path(nights.first)}/clear", {"dry_run": False})
    assert airflow.ended(nights.first) == "success"
    assert airflow.tasks(nights.first)["extract"]["try_number"] == 2
    assert f"{home}/features/{FIRST} is committed already." in airflow.log(
        nights.first, "extract", 2
    )
    after = run.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_cannot_work_fails_at_once(nights, airflow, home):
    write_manifest(home, EMPTY, [])
    run = airflow.trigger(EMPTY)
    assert airflow.ended(run) == "failed"
    task = airflow.tasks(run)["extract"]
    assert (task["state"], task["try_number"], task["max_tries"]) == ("failed", 1, 5)
    assert "(exit code 2)" in airflow.log(run, "extract")


def test_a_run_without_a_date_says_so(nights, airflow):
    run = airflow.trigger(None)
    assert airflow.ended(run) == "failed"
    assert airflow.states(run)["check_settings"] == "failed"
    assert airflow.tasks(run)["check_settings"]["try_number"] == 1
    assert "has no logical date" in airflow.log(run, "check_settings")


def is_there(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def test_a_stopped_task_ends_its_command(nights, airflow, home):
    trouble = home / "trouble"
    (trouble / f"slow-{SLOW}").touch()
    write_manifest(home, SLOW, [write_image(home / "images" / "slow.jpg", 7)])
    run = airflow.trigger(SLOW)
    started = trouble / f"process-{SLOW}"
    tools.wait_until(lambda: started.exists() and bool(started.read_text()), "the command", 120)
    process = int(started.read_text())
    assert is_there(process)
    path = f"{airflow.run_path(run)}/taskInstances/extract"
    airflow.call("PATCH", path, {"new_state": "failed"})
    tools.wait_until(lambda: not is_there(process), "the command's end", 90)
    assert (trouble / f"told-{SLOW}").exists()
    assert airflow.ended(run) == "failed"
