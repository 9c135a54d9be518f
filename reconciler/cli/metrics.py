"""The agent's metrics over HTTP, at http://127.0.0.1:PORT/metrics, for a Prometheus to scrape.

On loopback alone: there is no login, and what an agent that is root offers to a network must have one. In the agent's
own loop, not in a thread: what is told is of one moment, and an agent that hangs does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loguru import logger

ADDRESS = "127.0.0.1"
PATIENCE = 5.0  # seconds for a request and its answer
LINES = 100  # of a request's head


@asynccontextmanager
async def serving(port: int | None, text: Callable[[], bytes]) -> AsyncIterator[None]:
    """Answers meanwhile, unless `port` is None; where that cannot be, it is logged and nothing else."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(_answer(await _asked(reader), text))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # who asked has gone, or does not speak HTTP
        finally:
            writer.close()

    if port is None:
        yield
        return
    try:
        server = await asyncio.start_server(one, ADDRESS, port)
    except OSError as e:
        way_out = "metrics_port in /etc/hactl/hactl.toml names another port"
        logger.warning("no metrics: {}:{}: {}; {}", ADDRESS, port, e.strerror or e, way_out)
        yield
        return
    try:
        yield
    finally:
        server.close()


async def _asked(reader: asyncio.StreamReader) -> list[bytes]:
    """The words of the request's first line; the rest of its head is read, so that closing does not reset."""
    words = (await reader.readline()).split()
    for _ in range(LINES):
        if not (await reader.readline()).strip():
            break
    return words


def _answer(words: list[bytes], text: Callable[[], bytes]) -> bytes:
    """RFC 9112"""
    if words[:1] != [b"GET"] or words[1:2] != [b"/metrics"]:
        return _said("404 Not Found", "text/plain", b"there is only GET /metrics\n")
    return _said("200 OK", "text/plain; version=0.0.4; charset=utf-8", text())


def _said(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
