"""The part of Dataflow that a launcher sees, on loopback: its REST API and Google's sign-in."""

from __future__ import annotations

import datetime
import http
import json
import pathlib
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.cloud import dataflow
from google.protobuf import json_format

PROJECT, REGION = "my-project", "europe-west4"
_JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
_JOB = re.compile(rf"{_JOBS}/(?P<id>[\w-]+)(?P<part>/messages|/metrics)?")
_ACCESS_TOKEN = "an-access-token"
_AUDIENCE = "https://oauth2.googleapis.com/token"  # The key may name another place.


class JobFailedError(Exception):
    """The failure of a job, which says as many messages as there are arguments."""


class Job:
    """A job that the service has taken.

    Attributes:
      id: The id of the job.
      request: The request, which is the API's Job with enums by their names.
      state: The state, without JOB_STATE_.
      metrics: The answer to a question for metrics, which is a list of the API's MetricUpdates.
    """

    def __init__(self, number: int, request: dict[str, Any]) -> None:
        self.id = f"2026-11-25_01_02_03-{number:019d}"
        self.request = request
        self.state = "PENDING"
        self.metrics: list[dict[str, Any]] = []
        self._messages: list[dict[str, str]] = []

    def say(self, importance: str, text: str) -> None:
        message = {"id": str(len(self._messages)), "time": _now(), "messageText": text}
        self._messages.append({**message, "messageImportance": f"JOB_MESSAGE_{importance}"})

    def answer(self, part: str) -> dict[str, Any]:
        """Returns the API's answer to a get, or to a question for messages or metrics."""
        if part == "/messages":
            return {"jobMessages": self._messages}
        if part == "/metrics":
            return {"metricTime": _now(), "metrics": self.metrics}
        state = self.state
        if state == "PENDING":
            self.state = "RUNNING"  # A job never runs when it is first asked for.
        return {**self.short(), "currentState": f"JOB_STATE_{state}", "currentStateTime": _now()}

    def short(self) -> dict[str, Any]:
        """Returns the answer to a creation, which has no state yet."""
        known = {name: self.request[name] for name in ("name", "type", "clientRequestId")}
        place = {"id": self.id, "projectId": PROJECT, "location": REGION, "createTime": _now()}
        return {**known, **place, "currentStateTime": "1970-01-01T00:00:00Z"}


class Service:
    """The service, whose clients must have signed in with the key in `key_file`.

    Attributes:
      url: The address for --dataflow_endpoint.
      key_file: The file for GOOGLE_APPLICATION_CREDENTIALS.
      jobs: The jobs that the service has taken.
      requests: The method and path of every request.
      refusals: The statuses and messages with which the next creations are refused.
      run: A function that does the work of a job when it is taken, and may set its state; a
        JobFailedError from it fails the job. Without it, a job runs for ever.
    """

    def __init__(self, directory: pathlib.Path, run: Callable[[Job], None] | None = None) -> None:
        self.run = run
        self.jobs: list[Job] = []
        self.requests: list[tuple[str, str]] = []
        self.refusals: list[tuple[int, str]] = []
        self.key_file = directory / "key.json"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Service:
        self._server = ThreadingHTTPServer(("localhost", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_address[1]}"
        self._write_key()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _write_key(self) -> None:
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": f"launcher@{PROJECT}.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }
        self.key_file.write_text(json.dumps(key))

    def asked(self, method: str, ending: str) -> int:
        """Returns the number of requests of a kind."""
        return sum(verb == method and path.endswith(ending) for verb, path in self.requests)

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        """Returns the status and the JSON that answer a request."""
        self.requests.append((method, path))
        if (method, path) == ("POST", "/token"):
            return self._sign_in(body)
        if authorization != f"Bearer {_ACCESS_TOKEN}":
            return _error(401, "Request had invalid authentication credentials.")
        if (method, path) == ("POST", _JOBS):
            return self._create(body)
        found = _JOB.fullmatch(path)
        job = next((job for job in self.jobs if found and job.id == found["id"]), None)
        if not found or job is None:
            return _error(404, f"{method} {path} is not known.")
        if method == "PUT":
            job.state = json.loads(body)["requestedState"]
        return 200, job.answer(found["part"] or "")

    def _sign_in(self, body: bytes) -> tuple[int, Any]:
        (assertion,) = parse_qs(body.decode())["assertion"]
        try:
            jwt.decode(assertion, certs=self._public, audience=_AUDIENCE)
        except ValueError as error:
            return 400, {"error": "invalid_grant", "error_description": str(error)}
        return 200, {"access_token": _ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3599}

    def _create(self, body: bytes) -> tuple[int, Any]:
        with self._lock:
            if self.refusals:
                return _error(*self.refusals.pop(0))
            try:
                parsed = json_format.Parse(body, dataflow.Job.pb()())
            except json_format.ParseError as error:
                return _error(400, str(error))
            text = json_format.MessageToJson(parsed)
            job = Job(len(self.jobs), json.loads(text, parse_float=_number))
            self.jobs.append(job)
        if self.run is not None:
            threading.Thread(target=self._work, args=(job, self.run), daemon=True).start()
        return 200, job.short()

    def _work(self, job: Job, run: Callable[[Job], None]) -> None:
        job.say("BASIC", "Worker configuration: e2-standard-4 in europe-west4-b.")
        try:
            run(job)
        except JobFailedError as error:
            for text in error.args:
                job.say("ERROR", str(text))
            job.state = "FAILED"
        except Exception as error:  # A test's own mistake must not keep the launcher waiting.
            job.say("ERROR", f"{type(error).__name__}: {error}")
            job.state = "FAILED"
        else:
            job.state = "DONE" if job.state in ("PENDING", "RUNNING") else job.state


def _number(text: str) -> float:
    """Reads a number of a Struct, where all are floats; whole ones become ints, as for workers."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _error(status: int, message: str) -> tuple[int, Any]:
    name = http.HTTPStatus(status).phrase.upper().replace(" ", "_")
    return status, {"error": {"code": status, "message": message, "status": name}}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            authorization = self.headers.get("Authorization", "")
            status, answer = service.answer(self.command, path, authorization, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = handle_one

    return Handler
