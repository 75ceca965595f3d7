"""The servers of `benchmarks.latency`: late, alive, intact, and honest about their work."""

import concurrent.futures
import contextlib
import http.client
import json
import time

import pytest

from benchmarks.loopback import HOST, Server
from tests.http_server import ImageServer

LATE = 0.2


@pytest.fixture
def listed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    path = tmp_path / "files.txt"
    path.write_text(f"{tmp_path}/a\n{tmp_path}/b\n")
    return path


def get(connection, path, **headers):
    start = time.perf_counter()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read(), time.perf_counter() - start


def test_files_go_round_over_one_connection(listed):
    with Server.of_files(listed) as server:
        connection = http.client.HTTPConnection(HOST, server.ports[0], timeout=10)
        for number, letter in ((0, b"a"), (1, b"b"), (2, b"a")):
            assert get(connection, f"/{number}")[:2] == (200, letter * 100_000)
        assert get(connection, "/other")[0] == 404
        counters = server.delay(0)
        connection.close()
    assert (counters.requests, counters.connections) == (4, 1)
    assert counters.cpu_seconds > 0


def test_parts_of_files_are_served_and_counted(tmp_path):
    data = bytes(range(256)) * 8000
    (tmp_path / "x.tar").write_bytes(data)
    (tmp_path / "files.txt").write_text(f"{tmp_path}/x.tar\n")
    with Server.of_files(tmp_path / "files.txt") as server:
        connection = http.client.HTTPConnection(HOST, server.ports[0], timeout=10)
        assert get(connection, "/0/x.tar")[:2] == (200, data)
        begin = server.delay(0)
        parts = (("5-9", data[5:10]), ("5-", data[5:]), ("-7", data[-7:]), ("5-9999999", data[5:]))
        for asked, part in parts:
            assert get(connection, "/0/x.tar", Range=f"bytes={asked}")[:2] == (206, part)
        assert get(connection, "/0/x.tar", Range=f"bytes={len(data)}-")[0] == 416
        connection.request("HEAD", "/0/x.tar")
        response = connection.getresponse()
        assert response.headers["Content-Length"] == str(len(data)) and not response.read()
        told = server.delay(0).since(begin)
        connection.close()
    assert told.requests == 6 and told.connections == 0
    assert 0 < told.sent - sum(len(part) for _, part in parts) < 6 * 200


def test_answers_are_late_side_by_side(listed):
    with Server.of_files(listed) as server:
        server.delay(1000 * LATE)

        def fetch(number):
            connection = http.client.HTTPConnection(HOST, server.ports[0], timeout=10)
            with contextlib.closing(connection):
                return get(connection, f"/{number}")

        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(fetch, range(16)))
        assert time.perf_counter() - start < 8 * LATE
    assert all(seconds >= LATE for _, _, seconds in answers)


def test_a_proxy_delays_and_keeps_connections_and_bytes():
    body = bytes(range(256)) * 20_000
    with ImageServer({"x": body}) as upstream, Server.proxy(upstream.port) as proxy:
        connection = http.client.HTTPConnection(HOST, proxy.ports[0], timeout=10)
        assert get(connection, "/x")[:2] == (200, body)
        proxy.delay(1000 * LATE)
        for _ in range(2):
            status, data, seconds = get(connection, "/x")
            assert (status, data) == (200, body)
            assert seconds >= LATE
        counters = proxy.delay(0)
        connection.close()
    assert (counters.requests, counters.connections) == (3, 1)


def test_the_cloud_gives_tokens_and_objects():
    with Server("benchmarks.cloud") as cloud, Server.proxy(cloud.ports[0]) as proxy:
        metadata = http.client.HTTPConnection(HOST, cloud.ports[1], timeout=10)
        path = "/computeMetadata/v1/instance/service-accounts/default/token?scopes=x"
        assert json.loads(get(metadata, path)[1])["access_token"]
        metadata.close()
        connection = http.client.HTTPConnection(HOST, proxy.ports[0], timeout=10)
        upload = "/upload/storage/v1/b/images/o?uploadType=media&name=0"
        connection.request("POST", upload, body=b"data")
        connection.getresponse().read()
        download = "/download/storage/v1/b/images/o/0?alt=media"
        assert get(connection, download)[:2] == (200, b"data")
        connection.close()


def test_a_server_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="ended early"), Server.of_files(tmp_path / "none"):
        pass
