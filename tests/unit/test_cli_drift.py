"""hactl drift and hactl watch on a simulated cluster: what a hand breaks is shown, and what put it right."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from loguru import logger

from reconciler.cli import drift, watch
from reconciler.cli.desk import Desk
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster
from tests.unit.test_cli_commands import NFS, Capture, story

NOW = datetime(2026, 11, 24, 7, 2, tzinfo=UTC)  # of the simulated clocks, a little later
ADDRESS = NFS.spec.get("addresses")[0].address


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


async def one_put_right_one_open(cluster: Cluster) -> None:
    """An address that was taken away is back; a unit that failed cannot be started."""
    hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
    await cluster.run(5)
    hands.fault(cluster, "hosta", "systemctl start nfs.service", "fail")
    hands.unit(cluster, "hosta", "nfs", "nfs.service", "failed")
    await cluster.run(5)


def test_nothing_open_is_said_in_one_line(capsys: Capture) -> None:
    async def tell(_: Cluster, desk: Desk) -> None:
        await drift.drift(desk, "", NOW, as_json=False)

    story(tell)
    assert capsys.readouterr().out == "nothing differs from the spec\n"


def test_what_is_open_is_shown_first_and_what_was_put_right_below(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await one_put_right_one_open(cluster)
        await drift.drift(desk, "nfs", NOW, as_json=False)

    story(tell)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["OPEN", "FOR", "SERVICE", "HOST", "RESOURCE", "WANTED", "FOUND", "NOTE"]
    (unit,) = [line for line in lines if "unit/nfs.service" in line]
    assert "nfs  " in unit
    assert "active" in unit
    assert "failed" in unit
    assert "its systemd says exit-code (journalctl -u nfs.service)" in unit
    assert "could not start nfs.service" in unit
    (gone,) = [line for line in lines if ADDRESS in line]
    assert lines.index(gone) > lines.index("put right within a day:")
    assert gone.endswith(f"address {ADDRESS} is missing on eth0; {ADDRESS} added")


def test_json_tells_open_and_gone_apart(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await one_put_right_one_open(cluster)
        await drift.drift(desk, "", NOW, as_json=True)

    story(tell)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (gone,) = [one for one in found if not one["open"] and one["resource"].startswith("address/")]
    assert (gone["expected"], gone["observed"], gone["by"]) == ("on eth0", "absent", [f"{ADDRESS} added"])
    opened = [one["resource"] for one in found if one["open"]]
    assert "unit/nfs.service" in opened


def test_an_agent_that_starts_again_goes_on_with_what_is_open(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hosta", "systemctl start nfs.service", "fail")
        hands.unit(cluster, "hosta", "nfs", "nfs.service", "failed")
        await cluster.run(20)
        before = (await cluster.status("nfs", "hosta")).drifts  # type: ignore[union-attr]
        cluster.kill("hosta")
        await cluster.run(30)
        after = (await cluster.status("nfs", "hosta")).drifts  # type: ignore[union-attr]
        assert after["unit/nfs.service"].since == before["unit/nfs.service"].since
        events = await desk.store.list("/hactl/events/nfs/")
        told = [one for one in events.entries if '"drift"' in one.value and "unit/nfs.service" in one.value]
        assert len(told) == 1

    story(tell)


def test_watch_says_each_thing_as_it_happens(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        watching = asyncio.create_task(watch.watch(desk, "nfs"))
        await cluster.run(2)
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        await cluster.run(5)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert "nfs" in lines[0]
    assert lines[0].endswith("is Ready")
    seen = next(n for n, line in enumerate(lines) if line.endswith(f"address {ADDRESS} is missing on eth0"))
    assert any(f"{ADDRESS} added" in line for line in lines[seen:])
    assert lines[-1].endswith("is Ready") or "no longer" in lines[-1]
    assert not any("\x1b" in line for line in lines)


def test_watch_goes_on_when_etcd_is_back(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        watching = asyncio.create_task(watch.watch(desk, ""))
        await cluster.run(2)
        hands.member(cluster, "all", "stopped")
        await cluster.run(30)
        hands.member(cluster, "all", "up")
        await cluster.run(30)
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        await cluster.run(5)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    story(tell)
    out = capsys.readouterr().out
    assert f"address {ADDRESS} is missing on eth0" in out
