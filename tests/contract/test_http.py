"""What an HTTP server on loopback answers, as Machine.http and Machine.fetch hear it (root: a namespace is entered)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reconciler.linux import network

HERE = "/proc/self/ns/net"
LONG = "x" * 100_000


class Answers(BaseHTTPRequestHandler):
    """/200, /503: that status, with a body; /long; /hangs, until the test is over; POST: what was posted."""

    over = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/hangs":
            self.over.wait(30)
        status = int(self.path[1:4]) if self.path[1:4].isdigit() else 200
        self._say(status, LONG if self.path == "/long" else f"{self.path} for {self.headers['Host']}")

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self._say(200, f"{self.headers['Content-Type']}: {self.rfile.read(length).decode()}")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Not among the tests."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    Answers.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Answers.over.set()
        server.shutdown()


@pytest.mark.parametrize("status", [200, 302, 503])
async def test_the_status_and_the_body_are_heard(url: str, status: int) -> None:
    said = f"/{status}?lag=16MB for {url.removeprefix('http://')}"
    assert await network.http(HERE, f"{url}/{status}?lag=16MB", 5, most=1000) == (status, said)
    assert await network.http(HERE, f"{url}/{status}", 5) == (status, "")


async def test_what_is_posted_is_json(url: str) -> None:
    heard = await network.http(HERE, url, 5, most=1000, post='{"candidate": "hostb"}')
    assert heard == (200, 'application/json: {"candidate": "hostb"}')


async def test_no_more_is_read_than_was_asked_for(url: str) -> None:
    assert await network.http(HERE, f"{url}/long", 5, most=1000) == (200, "x" * 1000)


@pytest.mark.parametrize("where", ["/hangs", ""])
async def test_what_does_not_answer_is_nothing(url: str, where: str) -> None:
    asked = f"{url}/hangs" if where else "http://127.0.0.1:1/"
    assert await network.http(HERE, asked, 0.3, most=1000) == (0, "")
