"""A program for Airflow's environment: it loads the DAG with given Variables and calls its parts.

usage: probe.py DAG_FILE < {"variables": {name: text or null}, "commands": {name: command},
"launches": [date]} > the same names and dates, with what came of each
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any
from unittest import mock

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.bases.operator import ExecutorSafeguard

VARIABLE = "AIRFLOW_VAR_IMAGE_FEATURES"


def load(path: str, variable: str | None, without: str = "") -> DagBag:
    """Imports the DAG's file with a Variable, or with none.

    Args:
      path: The path of the file.
      variable: The text of the Variable; None sets none.
      without: The name of a provider that seems not to be installed.
    """
    os.environ.pop(VARIABLE, None)
    if variable is not None:
        os.environ[VARIABLE] = variable
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> Any:
        return None if name == f"airflow.providers.{without}" else find(name, package)

    with mock.patch.object(importlib.util, "find_spec", find_others):
        return DagBag(path)


def describe(bag: DagBag) -> dict[str, Any]:
    """Describes the DAG by what tests look at."""
    if bag.import_errors:
        return {"import_errors": list(bag.import_errors.values())}
    (dag,) = bag.dags.values()
    return {
        "doc": dag.doc_md,
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "cron": dag.timetable.expression,
        "dagrun_timeout": dag.dagrun_timeout.total_seconds(),
        "google": "airflow.providers.google.cloud.operators.dataflow" in sys.modules,
        "tasks": {task.task_id: describe_task(task) for task in dag.tasks},
    }


def describe_task(task: Any) -> dict[str, Any]:
    """Describes a task by what tests look at."""
    timeout = task.execution_timeout
    return {
        "type": task.task_type,
        "upstream": sorted(task.upstream_task_ids),
        "retries": task.retries,
        "backoff": task.retry_exponential_backoff,
        "execution_timeout": timeout.total_seconds() if timeout else None,
        "max_active_tis_per_dag": task.max_active_tis_per_dag,
        "outlets": [outlet.name for outlet in task.outlets],
        **{
            name: getattr(task, name)
            for name in ("mode", "timeout", "poke_interval", "command", "body", "deferrable")
            if hasattr(task, name)
        },
        "append_job_name": getattr(task, "append_job_name", None),
    }


def call(task: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Executes a task; returns its result, or the class and sentence of its exception."""
    ExecutorSafeguard.tracker.set(task)
    try:
        return {"result": task.execute(context)}
    except BaseException as error:
        return {"raised": type(error).__name__, "said": str(error)}


def launch(dag: Any, date: str) -> dict[str, Any]:
    """Runs a night on Dataflow; returns its outcome and what Google was asked to launch."""
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    requests = []

    def answer(self: Any, **request: Any) -> dict[str, str]:
        requests.append(request)
        return {"id": "job", "projectId": "project", "location": "europe-west4"}

    task = dag.get_task("extract")
    context = {"ds": date, "ds_nodash": date.replace("-", ""), "ti": mock.MagicMock()}
    context["task_instance"] = context["ti"]
    task.render_template_fields(context)
    with mock.patch.object(DataflowHook, "launch_job_with_flex_template", answer):
        return {**call(task, context), "requests": requests}


def main() -> None:
    """Reads cases, and prints their outcomes."""
    path, cases = sys.argv[1], json.load(sys.stdin)
    found: dict[str, Any] = {}
    for name, text in cases["variables"].items():
        found[name] = describe(load(path, text, without=name.partition("without ")[2]))
    bag = load(path, cases["variables"]["local"])
    (dag,) = bag.dags.values()
    operator = type(dag.get_task("extract"))
    found["keys"] = list(sys.modules[operator.__module__].Settings.model_fields)
    for name, command in cases["commands"].items():
        notify = "http://{{ name }}/hush" if name == "environment" else ""
        context = {"name": "hook"}
        found[name] = call(operator(task_id="extract", command=command, notify=notify), context)
    for date in cases["launches"]:  # Each date fills in templates of its own.
        bag = load(path, cases["variables"]["dataflow"])
        found[date] = launch(bag.dags["image_features_nightly"], date)
    print("\nFOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
