"""Metrics over HTTP: on loopback, where asked for; and an alert file that Prometheus takes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loguru import logger

from reconciler.cli import metrics
from reconciler.counts import Counts
from tests.contract.members import free_ports

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "examples/prometheus/hactl-alerts.yaml"


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    found: list[str] = []
    logger.enable("reconciler")
    sink = logger.add(found.append, level="WARNING", format="{message}")
    yield found
    logger.remove(sink)


async def asked(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(metrics.ADDRESS, port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_what_is_told_is_read_at_the_moment_of_asking() -> None:
    [port] = free_ports(1)
    count = 0

    def text() -> bytes:
        nonlocal count
        count += 1
        return b"hactl_asked %d\n" % count

    async with metrics.serving(port, text):
        for number in (1, 2):
            answer = await asked(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
            assert body == b"hactl_asked %d\n" % number
        assert (await asked(port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert (await asked(port, b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert await asked(port, b"x" * 100_000 + b"\r\n\r\n") == b""
    with pytest.raises(OSError, match=str(port)):
        await asked(port, b"")


async def test_a_port_in_use_is_one_warning_and_nothing_else(warnings: list[str]) -> None:
    with socket.create_server((metrics.ADDRESS, 0)) as taken:
        port = int(taken.getsockname()[1])
        async with metrics.serving(port, lambda: b""):
            pass
    [line] = warnings
    assert f"no metrics: 127.0.0.1:{port}" in line
    assert "metrics_port in /etc/hactl/hactl.toml" in line


def test_where_nobody_asks_prometheus_client_is_not_loaded() -> None:
    script = "import sys, reconciler.cli.agent, reconciler.loop; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_passes_fall_into_buckets_that_add_up() -> None:
    counts = Counts()
    for seconds in (0.01, 0.02, 2, 1000):
        counts.passed(seconds)
    found = dict(counts.passes())
    assert (found["0.01"], found["0.03"], found["1.0"], found["3.0"], found["100.0"], found["+Inf"]) == (
        1,
        2,
        2,
        3,
        3,
        4,
    )
    assert counts.seconds == 1002.03


def test_a_service_that_is_gone_is_not_counted() -> None:
    counts = Counts()
    counts.events["nfs", "drift"] += 1
    counts.events["web", "drift"] += 1
    counts.forget("nfs")
    assert dict(counts.events) == {("web", "drift"): 1}


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == set(rule["annotations"])
