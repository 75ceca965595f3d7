"""Qdrant's REST interface in front of the client's local mode, with trouble on demand.

This is no Qdrant. The data are kept by the client's own imitation of a server, and the wire is
ours: it shows what a client sends, and how it takes answers that the local mode never gives.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from qdrant_client import QdrantClient, models

from tests.http_server import QuietServer


class QdrantServer:
    """Serves collections in memory.

    Attributes:
      client: The local mode, to look at what has come.
      requests: The method, path and length of every request that was served.
      hits: How often each request came.
      troubles: What the first request of each kind gets, in turn: a status and headers, "hang up"
        or "hang".
      api_key: The key that is asked for; None for none.
      keeps_metadata: Whether collections have metadata, as from version 1.16 on.
      late: The number of writes that are told to be unfinished.
    """

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.requests: list[tuple[str, str, int]] = []
        self.hits: Counter[tuple[str, str]] = Counter()
        self.troubles: list[tuple[int | str, dict[str, str]]] = []
        self.api_key: str | None = None
        self.keeps_metadata = True
        self.late = 0
        self.lock = threading.Lock()

    def __enter__(self) -> QdrantServer:
        handler = type("Handler", (_Handler,), {"qdrant": self})
        self._server = QuietServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Does what a request asks for; returns its result."""
        match method, *path.strip("/").split("/"):
            case "GET", "aliases":
                return self.client.get_aliases()
            case "GET", "collections":
                return self.client.get_collections()
            case "POST", "collections", "aliases":
                actions = models.ChangeAliasesOperation(**body).actions
                return self.client.update_collection_aliases(actions)
            case "GET", "collections", name, "exists":
                # A server says so of an alias too.
                return {"exists": self.client.collection_exists(name)}
            case "GET", "collections", name:
                return self.client.get_collection(name)
            case "PUT", "collections", name:
                made = models.CreateCollection(**body)
                metadata = made.metadata if self.keeps_metadata else None
                return self.client.create_collection(name, made.vectors, metadata=metadata)
            case "PATCH", "collections", name:
                return self.client.update_collection(name, metadata=body["metadata"])
            case "DELETE", "collections", name:
                return self.client.delete_collection(name)
            case "POST", "collections", name, "points", "count":
                return self.client.count(name, exact=body["exact"])
            case "PUT", "collections", name, "points":
                return self._written(self.client.upsert(name, models.Batch(**body["batch"])))
            case "POST", "collections", name, "points", "delete":
                return self._written(self.client.delete(name, body["points"]))
        raise LookupError(f"{method} {path}")

    def _written(self, result: models.UpdateResult) -> models.UpdateResult:
        if self.late:
            self.late -= 1
            result.status = models.UpdateStatus.WAIT_TIMEOUT
        return result


class _Handler(BaseHTTPRequestHandler):
    qdrant: QdrantServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        qdrant = self.qdrant
        path = urllib.parse.urlsplit(self.path).path
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if qdrant.api_key not in (None, self.headers.get("api-key")):
            return self._send(401, {"status": {"error": "Must provide an API key"}})
        qdrant.hits[self.command, path] += 1
        if qdrant.troubles and qdrant.hits[self.command, path] == 1:
            return self._fail(*qdrant.troubles[len(qdrant.hits) % len(qdrant.troubles)])
        qdrant.requests.append((self.command, self.path, len(data)))
        try:
            with qdrant.lock:
                result = qdrant.answer(self.command, path, json.loads(data) if data else None)
        except (ValueError, LookupError) as error:
            return self._send(400, {"status": {"error": str(error)}})
        if hasattr(result, "model_dump"):
            result = result.model_dump(mode="json")
        return self._send(200, {"result": result, "status": "ok", "time": 0.0})

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    def _fail(self, trouble: int | str, headers: dict[str, str]) -> None:
        if isinstance(trouble, int):
            return self._send(trouble, {"status": {"error": "for a while"}}, headers)
        if trouble == "hang":
            time.sleep(1.5)
        self.close_connection = True
        return None

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
