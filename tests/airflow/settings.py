"""Values of the Variable, and the environment that Airflow runs in."""

from __future__ import annotations

import os
import pathlib

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy" / "airflow"
DAG_FILE = DEPLOY / "image_features_nightly.py"
DAG_ID = "image_features_nightly"
LOCAL = {
    "engine": "local",
    "manifest": "/data/{{ ds }}.csv",
    "output": "/data/features",
    "executable": "/opt/image-features/bin/image-features",
}
FLINK = {**LOCAL, "engine": "flink", "flink_master": "jobmanager:8081"}
DATAFLOW = {
    "engine": "dataflow",
    "manifest": "gs://bucket/{{ ds }}.csv",
    "output": "gs://bucket/features",
    "project": "project",
    "region": "europe-west4",
    "template": "gs://bucket/templates/image-features.json",
    "parameters": {"sdk_container_image": "r/image-features:1"},
    "environment": {"tempLocation": "gs://bucket/temp"},
}


def environment(home: pathlib.Path, programs: pathlib.Path, **settings: str) -> dict[str, str]:
    """Returns the variables of a process of Airflow that keeps all it has in a directory.

    Args:
      home: The directory.
      programs: The directory of the programs of Airflow's environment.
      **settings: The settings of Airflow, such as core__executor.
    """
    own = {
        "core__dags_folder": str(home / "dags"),
        "core__load_examples": "False",
        # Four processes share the file, and on a busy machine wait longer than 5 s for each other.
        "database__sql_alchemy_conn": f"sqlite:///{home}/airflow.db?timeout=120",
        "logging__logging_level": "INFO",
        **settings,
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    return {
        **kept,
        **{f"AIRFLOW__{name.upper()}": value for name, value in own.items()},
        "AIRFLOW_HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "NO_PROXY": "*",
    }
