"""The command `extract` on Dataflow, and what it stages: to look at, and to do its work."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from typing import Any

from apache_beam.portability.api import beam_runner_api_pb2

from image_features.pipeline.process import PACKAGE
from tests.engines.dataflow import PROJECT, REGION, Job, JobFailedError, Service

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 600
GPU = "worker_accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver"
SDIST = f"image_feature_extractor-{importlib.metadata.version('image-feature-extractor')}.tar.gz"
# It prints where modules are found, or None.
_FIND = "import importlib.util as u, sys; print(*map(u.find_spec, sys.argv[1:]), sep='\\n')"


def arguments(run_id: str = "run", **changed: str | None) -> list[str]:
    """Returns options of a job that can be submitted; None leaves one out."""
    given: dict[str, str | None] = {
        "runner": "DataflowRunner",
        "project": PROJECT,
        "region": REGION,
        "temp_location": "gs://images/temp",
        "input": "gs://images/in/m.csv",
        "output": "gs://images/out",
        "run_id": run_id,
        "model": "untrained",
        "num_shards": "2",
    }
    given.update(changed)
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def begin(service: Service, *options: str, run_id: str = "run") -> subprocess.Popen[str]:
    """Starts the command."""
    command = [sys.executable, "-m", "image_features", "extract", *arguments(run_id), *options]
    return subprocess.Popen(
        [*command, f"--dataflow_endpoint={service.url}"],
        env={**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": str(service.key_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(service: Service, *options: str, run_id: str = "run") -> tuple[int, str, str]:
    """Runs the command; returns its exit code, stdout and stderr."""
    process = begin(service, *options, run_id=run_id)
    try:
        output, error = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, output, error


def last_line(error: str) -> str:
    """Returns a launcher's last line, before which it logs only warnings and the job's messages.

    The command that goes on may follow it.
    """
    lines = [line for line in error.splitlines() if ": To go on where this run ended: " not in line]
    *before, last = lines
    assert not [line for line in before if "dataflow_runner.py" in line or "HTTP status" in line]
    return last


def names(bucket: Any, prefix: str = "") -> set[str]:
    """Returns the names of a bucket's objects."""
    return {blob.name for blob in bucket.client.list_blobs(bucket.name, prefix=prefix)}


def console(job: Job) -> str:
    """Returns the address of a job in the console."""
    return f"https://console.cloud.google.com/dataflow/jobs/{REGION}/{job.id}?project={PROJECT}"


def pool(job: Job) -> dict[str, Any]:
    """Returns the only worker pool of a job."""
    (pool,) = job.request["environment"]["workerPools"]
    return dict(pool)


def options_of(job: Job) -> dict[str, Any]:
    """Returns the pipeline options of a job, as its workers get them."""
    return dict(job.request["environment"]["sdkPipelineOptions"]["options"])


def staged(bucket: Any, job: Job) -> dict[str, bytes]:
    """Returns the files that workers download, by their names."""
    places = {part["name"]: part["location"] for part in pool(job)["packages"]}
    places["pipeline.pb"] = options_of(job)["pipelineUrl"]
    start = re.compile(f"(gs:/|storage.googleapis.com)/{bucket.name}/")
    return {
        name: bucket.blob(start.sub("", place)).download_as_bytes()
        for name, place in places.items()
    }


def pipeline_of(bucket: Any, job: Job) -> Any:
    """Returns the graph of a job, a beam_runner_api_pb2.Pipeline."""
    return beam_runner_api_pb2.Pipeline.FromString(staged(bucket, job)["pipeline.pb"])


def setup_of(bucket: Any, job: Job) -> str:
    """Returns the setup.py of the package that workers install."""
    with tarfile.open(fileobj=io.BytesIO(staged(bucket, job)[SDIST])) as archive:
        file = archive.extractfile(f"{SDIST.removesuffix('.tar.gz')}/setup.py")
        assert file is not None
        return file.read().decode()


def work(bucket: Any, service: Service, job: Job) -> None:
    """Does the work of a job in a new environment, with what was staged and nothing else."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(service.key_file)
    with tempfile.TemporaryDirectory() as worker:  # It takes some hundred megabytes for a while.
        directory = pathlib.Path(worker)
        python = str(directory / "venv" / "bin" / "python")

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=directory, env=variables, capture_output=True, text=True
            )
            if done.returncode:
                raise JobFailedError(f"{' '.join(command[:4])} failed: {done.stderr[-3000:]}")
            return done.stdout

        for name, data in staged(bucket, job).items():
            (directory / name).write_bytes(data)
        options = job.request["environment"]["sdkPipelineOptions"]
        (directory / "options.json").write_text(json.dumps(options))
        shutil.copy(ROOT / "tests" / "engines" / "run_staged.py", directory)
        run(sys.executable, "-m", "venv", "venv")
        constraints = ["-c", str(ROOT / "constraints.txt")]
        run(python, "-m", "pip", "install", "--quiet", *constraints, SDIST)
        tensorflow, *ours = run(python, "-c", _FIND, "tensorflow", PACKAGE).splitlines()
        if tensorflow != "None" or not all("/site-packages/" in place for place in ours):
            raise JobFailedError(f"The worker has tensorflow: {tensorflow}; ours: {ours}.")
        run(python, "run_staged.py", "pipeline.pb", "options.json")
    job.metrics += _distribution("fetch/microseconds", count=9, sum=9_000_000, max=2_000_000)


def _distribution(name: str, **value: int) -> list[dict[str, Any]]:
    """Returns a metric of the user's as the API answers it: what was attempted, and what counts."""
    context = {"namespace": "image_features", "step": "a step"}
    return [
        {
            "name": {"origin": "user", "name": name, "context": {**context, **more}},
            "distribution": {"min": 1, **value},
        }
        for more in ({"tentative": "true"}, {})
    ]
