"""Image features of every night: for each date one run, named by it, in one dataset.

The Airflow Variable `image_features`, a JSON object, says where and how. README.md beside this
file explains its keys, each task, and what follows from each exit code.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jinja2
from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    Context,
    CronTriggerTimetable,
    ObjectStoragePath,
    Variable,
    chain,
    task,
)
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTimetableInvalid,
)
from airflow.sdk.log import mask_secret
from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    ValidationError,
    model_validator,
)

VARIABLE = "image_features"
DATASET = Asset("image_features")
NOTIFY_VARIABLE = "IMAGE_FEATURES_NOTIFY"  # The environment variable that `extract` reads.
# The exit codes of `extract`: the next attempt would end with a final one again; others may pass.
OVER_BUDGET, FINAL = 3, (2, 5)
MEANINGS = {
    1: "failed; nothing is committed",
    2: "cannot use an argument, the input, the output, the model or the engine",
    4: "found another launcher at work on this run",
    5: "was stopped by a guard before the commit",
}
NEEDS = {
    "local": ["executable"],
    "flink": ["executable", "flink_master"],
    "dataflow": ["project", "region", "template"],
}
_SET_HERE = "--(input|output|run_id|model|incremental|runner|flink_master|wait|no_wait)(=|$)"
_NOTIFY = "--notify="
# The time between SIGTERM and SIGKILL: Airflow kills the task's own process after 5 seconds.
_KILL_SECONDS = 3.0


class Settings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The content of the Variable, in which keys that only another engine needs may stay.

    Locations, arguments, parameters and the environment are templates: `{{ ds }}` is the date.
    """

    engine: Literal["local", "flink", "dataflow"]
    manifest: str
    output: str
    model: str | dict[str, str] = "builtin"
    incremental: bool = True
    over_budget: Literal["warn", "fail"] = "warn"
    schedule: str = "0 0 * * *"
    wait_hours: PositiveFloat = 12
    # Airflow takes a sensor that is up again within moments for one that was killed.
    poll_seconds: float = Field(300, ge=10)
    timeout_hours: PositiveFloat = 12
    retries: NonNegativeInt = 5
    retry_seconds: PositiveFloat = 300
    gcp_conn_id: str | None = None
    executable: str = ""
    arguments: list[str] = []
    flink_master: str = ""
    project: str = ""
    region: str = ""
    template: str = ""
    parameters: dict[str, str] = {}
    environment: dict[str, Any] = {}

    @property
    def directory(self) -> str:
        """The run's directory, a template."""
        return f"{self.output.rstrip('/')}/{{{{ ds }}}}"

    @property
    def models(self) -> list[str]:
        """The models as `extract` takes them: one, or several as NAME=HANDLE."""
        if isinstance(self.model, str):
            return [self.model]
        return [f"{name}={handle}" for name, handle in self.model.items()]

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        for name in NEEDS[self.engine]:
            _require(getattr(self, name), f"the engine {self.engine} needs {name}")
        places = ("gs://",) if self.engine == "dataflow" else ("gs://", "/")
        for name in ("manifest", "output"):
            starts = " or ".join(places)
            value = getattr(self, name)
            _require(value.startswith(places), f"{name}={value!r} does not begin with {starts}")
        pattern = re.search(r"[*?]", re.sub(r"{{.*?}}", "", self.manifest))
        _require(
            not pattern, f"manifest={self.manifest!r} is a pattern, which cannot be waited for"
        )
        for text in self.arguments:
            ours = re.match(_SET_HERE, text) or not re.match(r"--\w", text)
            _require(not ours, f"arguments has {text!r}, which is set here or not --NAME[=VALUE]")
        _require(self.models, "model names none")
        for text in (self.manifest, self.output, *self.models, *self.arguments):
            try:
                jinja2.Environment().parse(text)
            except jinja2.TemplateSyntaxError as error:
                raise ValueError(f"{text!r} is not a template: {error}") from error
        try:
            CronTriggerTimetable(self.schedule, timezone="UTC").validate()
        except AirflowTimetableInvalid as error:
            raise ValueError(f"schedule={self.schedule!r} is not a cron expression") from error
        needed = ["google"] if "gs://" in (self.manifest[:5], self.output[:5]) else []
        needed += ["apache.beam"] if self.engine == "dataflow" else []  # Google's operator's own.
        for name in needed:
            package = f"apache-airflow-providers-{name.replace('.', '-')}"
            _require(_is_there(f"airflow.providers.{name}"), f"{package} is needed and not here")
        return self


def _require(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)


def _is_there(module: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None
    return False


def read_settings(text: str | None) -> tuple[Settings | None, str]:
    """Reads the Variable; returns its settings, or None and a sentence that says what is wrong."""
    if text is None:
        return None, f"The Airflow Variable {VARIABLE} is not set; README.md has an example."
    try:
        return Settings.model_validate_json(text), ""
    except ValidationError as error:
        wrong = "; ".join(
            ": ".join([*map(str, each["loc"]), each["msg"].removeprefix("Value error, ")])
            for each in error.errors(include_url=False)
        )
        return None, f"The Airflow Variable {VARIABLE} cannot be used: {wrong}."


class ExtractOperator(BaseOperator):
    """Runs `image-features extract` in a process group of its own, which ends with the task.

    Args:
      command: The executable and its arguments, which are templates.
      notify: The address to notify, a template. The command gets it as a variable, since its
        command line is seen by all users of the machine and by all who may look at the DAG.
      **kwargs: The arguments that every operator takes.
    """

    template_fields = ("command",)

    def __init__(self, *, command: Sequence[str], notify: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.command = command
        self._notify = notify  # Not among template_fields, which Airflow stores and shows.
        self._child: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Runs the command; returns its exit code, 0 or 3, and what it said last.

        Raises:
          AirflowFailException: it ended in a way that another attempt would not change.
          AirflowException: it failed otherwise.
        """
        # Airflow's settings, connections and Variables hold secrets, and its Python's paths are not
        # the command's.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "PYTHON"))}
        kept["PYTHONUNBUFFERED"] = "1"
        if self._notify:
            kept[NOTIFY_VARIABLE] = self.render_template(self._notify, context)
            mask_secret(kept[NOTIFY_VARIABLE])  # May hold a password.
        self.log.info("Runs %s", shlex.join(self.command))
        try:
            child = self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                env=kept,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise AirflowFailException(f"The executable cannot be started: {error}.") from error
        # What a killed command leaves behind would keep its output open.
        threading.Thread(target=lambda: (child.wait(), self.on_kill()), daemon=True).start()
        lines: collections.deque[str] = collections.deque(maxlen=20)
        try:
            for line in child.stdout or ():
                self.log.info("%s", line.rstrip())
                lines.appendleft(line.strip())
            code = child.wait()
        finally:
            self.on_kill()  # A timeout is an exception.
        # The command says one sentence of its own; a crash is told by its last line.
        said = next((line for line in lines if line.startswith("image-features: ")), "")
        said = said or next(iter(lines), "")
        if code == OVER_BUDGET:
            self.log.warning("Over the error budget: %s", said)
        elif code:
            meaning = MEANINGS.get(code, "was interrupted, or broke")
            failure = AirflowFailException if code in FINAL else AirflowException
            raise failure(f"extract {meaning} (exit code {code}). {said}")
        return {"exit_code": code, "said": said}

    def on_kill(self) -> None:
        """Ends the process group: at once if its leader is gone, else after a while to tidy up."""
        child = self._child
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_KILL_SECONDS)
            os.killpg(child.pid, signal.SIGKILL)


def at(settings: Settings, location: str) -> ObjectStoragePath:
    """A location on this machine or on gs://."""
    return ObjectStoragePath(
        location, conn_id=settings.gcp_conn_id if location.startswith("gs://") else None
    )


def read_run(settings: Settings, directory: str) -> dict[str, Any] | None:
    """Returns the run.json of a committed run, or of the one that it was merged into, or None."""

    def read(place: ObjectStoragePath) -> dict[str, Any] | None:
        path = place / "run.json"
        return json.loads(path.read_text()) if path.exists() else None

    place = at(settings, directory)
    if (found := read(place)) is not None:
        return found
    others = map(read, place.parent.iterdir() if place.parent.exists() else ())
    return next((run for run in others if run and place.name in run.get("replaces", {})), None)


def extract_here(settings: Settings) -> BaseOperator:
    """The task that calls the command line, which does the work or has a Flink cluster do it."""
    command = [settings.executable, "extract", f"--input={settings.manifest}"]
    command += [f"--output={settings.output}", "--run_id={{ ds }}"]
    command += [f"--model={model}" for model in settings.models]
    command += ["--incremental"] if settings.incremental else []
    if settings.engine == "flink":
        command += ["--runner=FlinkRunner", f"--flink_master={settings.flink_master}"]
    notify = [each for each in settings.arguments if each.startswith(_NOTIFY)]
    return ExtractOperator(
        task_id="extract",
        command=[*command, *(each for each in settings.arguments if each not in notify)],
        notify=notify[-1].removeprefix(_NOTIFY) if notify else "",
        execution_timeout=timedelta(hours=settings.timeout_hours),
        max_active_tis_per_dag=1,  # A backfill has a limit of its own on runs.
    )


def extract_on_dataflow(settings: Settings) -> BaseOperator:
    """The task that launches the Flex Template, and waits for the end of its job deferred."""
    from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator

    class LaunchOnce(DataflowStartFlexTemplateOperator):
        # A template's launcher that finds nothing to do starts no job, which counts as a failure.
        def execute(self, context: Context) -> Any:
            directory = self.render_template(settings.directory, context)
            if read_run(settings, directory) is not None:
                self.log.info("%s is committed already.", directory)
                return None
            # A launcher that waits for nobody claims the run for a day, and a job that failed does
            # not give that up: each further attempt would end with 4. To take it away is safe, as
            # Dataflow refuses a job's name while one of that name runs.
            (at(settings, directory) / ".staging" / "claim.json").unlink(missing_ok=True)
            return super().execute(context)

    parameters = {
        "input": settings.manifest,
        "output": settings.output,
        "run_id": "{{ ds }}",
        "model": " ".join(settings.models),
        "incremental": str(settings.incremental).lower(),
    }
    return LaunchOnce(
        task_id="extract",
        project_id=settings.project,
        location=settings.region,
        gcp_conn_id=settings.gcp_conn_id or "google_cloud_default",
        body={
            "launchParameter": {
                "jobName": "image-features-{{ ds_nodash }}",
                "containerSpecGcsPath": settings.template,
                "parameters": {**settings.parameters, **parameters},
                "environment": settings.environment,
            }
        },
        append_job_name=False,  # Dataflow refuses a name that runs: no night runs twice at once.
        deferrable=True,
        max_active_tis_per_dag=1,
    )


def add_tasks(settings: Settings) -> None:
    """The tasks of a night, in the DAG that is being made."""

    @task.sensor(
        mode="reschedule",
        poke_interval=settings.poll_seconds,
        timeout=settings.wait_hours * 3600,
    )
    def wait_for_manifest(manifest: str) -> bool:
        """Is done once the night's manifest is there."""
        return at(settings, manifest).exists()

    @task(outlets=[DATASET])
    def committed(directory: str, *, outlet_events: Any = None) -> dict[str, Any]:
        """Checks the commit; tells Airflow of it, with the run's counts."""
        run = read_run(settings, directory)
        if run is None:
            raise AirflowException(f"{directory} is not committed: it has no run.json.")
        outlet_events[DATASET].extra = {"directory": directory, "counts": run["counts"]}
        return run["counts"]

    @task
    def within_budget(ended: dict[str, Any]) -> None:
        """Is skipped, or fails, if more rows failed than `--error_budget` allows."""
        if ended["exit_code"] == OVER_BUDGET:
            failure = (
                AirflowSkipException if settings.over_budget == "warn" else AirflowFailException
            )
            raise failure(ended["said"])

    is_here = settings.engine != "dataflow"
    extract = extract_here(settings) if is_here else extract_on_dataflow(settings)
    chain(
        check_settings(""),
        wait_for_manifest(settings.manifest),
        extract,
        committed(settings.directory),
    )
    if is_here:
        within_budget(extract.output)


@task(retries=0)
def check_settings(problem: str, *, logical_date: datetime | None = None) -> None:
    """Fails with a sentence where nothing else could work."""
    if problem:
        raise AirflowFailException(problem)
    if logical_date is None:
        raise AirflowFailException(
            "This run has no logical date to be named by; trigger it with one, as "
            "`airflow dags trigger image_features_nightly --logical-date 2026-11-24` does."
        )


settings, problem = read_settings(Variable.get(VARIABLE, default=None))
# What holds without settings too: a DAG of one task that says what is wrong with them.
known = settings or Settings.model_construct(engine="local", manifest="", output="")
with DAG(
    "image_features_nightly",
    description="Extracts the features of the night's images.",
    doc_md=problem or __doc__,
    schedule=CronTriggerTimetable(known.schedule, timezone="UTC"),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=known.wait_hours + known.timeout_hours),
    default_args={
        "retries": known.retries,
        "retry_delay": timedelta(seconds=known.retry_seconds),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(hours=1),
    },
    tags=["image-features"],
):
    if settings:
        add_tasks(settings)
    else:
        check_settings(problem)
