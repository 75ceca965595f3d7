"""Redirects: cookies and credentials on their way."""

from image_features.transforms.stores.http import HttpClient, HttpPolicy
from tests.raw_server import RawServer, answer

DATA = bytes(range(256)) * 20
POLICY = HttpPolicy(total_timeout=5, allow_private_hosts=True)


def test_a_server_that_redirects_until_it_sees_its_cookie_does():
    def wants_cookie(client):
        seen = b"\nCookie: a=1; b=2\n" in server.heads[-1]
        again = answer(
            b"", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2", "Location: /", status="302"
        )
        client.sendall(answer(DATA) if seen else again)

    with RawServer({"/": wants_cookie}) as server:
        assert HttpClient(POLICY).read(server.url("/")).data == DATA
        assert HttpClient(POLICY).read(server.url("/")).data == DATA
        assert server.hits["/"] == 4  # No fetch knows another one's.


def test_credentials_stay_with_their_host():
    with RawServer({"/b": answer(DATA)}, address="127.0.0.2") as other:
        scripts = {
            "/a": answer(b"", f"Location: {other.url('/b')}", status="302 F"),
            "/c": answer(b"", "Location: /d", status="302 F"),
            "/d": answer(DATA),
        }
        with RawServer(scripts) as server:
            for target in ("/a", "/c"):
                url = f"http://us%C3%A9r:p%40ss@{server.host}{target}"
                assert HttpClient(POLICY).read(url).data == DATA
            sent = [b"Basic dXPDqXI6cEBzcw==" in head for head in server.heads]
        assert sent == [True, True, True]
        assert b"authorization" not in other.heads[0].lower()
