"""What an agent knows without etcd, and `hactl status` on a host that cannot reach etcd."""

from __future__ import annotations

import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from loguru import logger

from reconciler.cli import local, status
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.get import Format
from reconciler.local import Report
from reconciler.records import parse
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster
from reconciler.spec import to_json
from reconciler.store import StoreUnreachable, host_key
from tests.sim.services import service
from tests.unit.test_failsafe import KEY, KEY_FILE, OPTIONS, no_etcd

WEB, NFS, GIT = service("web", failover="automatic"), service("nfs"), service("git", primary="hostb")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


def told(tell: Callable[[Cluster], Awaitable[None]], *, key: bool = True) -> Report:
    """What hosta's agent reports at the end, as it comes over the socket."""

    async def run() -> Report:
        cluster = Cluster(1, [WEB, NFS, GIT], OPTIONS)
        for name, host in cluster.world.hosts.items():
            manifest = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": name}}
            await cluster.put(host_key(name), to_json({**manifest, "spec": {"addresses": [host.own_address]}}))
            if key:
                host.files[KEY_FILE] = KEY
        await cluster.start(clients=False)
        await cluster.until_ready()
        await cluster.set_primary("web", "hosta")  # hostb may have been first when all began at once
        await cluster.run(5)
        await cluster.until_ready()
        await tell(cluster)
        found = parse(Report, cluster.agents["hosta"].agent.local.report().line())
        assert found is not None
        cluster.over = True
        return found

    return simulate(run())


async def away(cluster: Cluster) -> None:
    await cluster.run(20)
    no_etcd(cluster)
    await cluster.run(40)


async def well(cluster: Cluster) -> None:
    await cluster.run(20)


def test_while_etcd_answers_it_says_so() -> None:
    report = told(well)
    assert (report.host, report.connected, report.synced, report.kept_by) == ("hosta", True, True, ())
    assert report.etcd < 6
    assert {name: one.why for name, one in report.services.items()} == {"git": "", "nfs": "", "web": ""}
    seen = report.services["nfs"].status
    assert seen is not None
    assert seen.state == "Ready"


def test_with_etcd_away_each_service_has_its_choice_and_the_reason() -> None:
    report = told(away)
    assert (report.connected, report.kept_by) == (False, ("hostb",))
    assert 38 < report.etcd < 47
    assert {name: one.why for name, one in report.services.items()} == {
        "web": "kept by promise of hostb",
        "nfs": "it stays here: a service with failover manual is not taken over without proof",
        "git": "hostb owned it when etcd last answered",
    }
    assert all(one.looked is not None and one.looked < 40 for one in report.services.values())
    text = "\n".join(local.lines(report))
    assert text.startswith("etcd is out of reach for 4")
    assert "kept by promise of hostb, etcd is out of reach for 4" in text
    assert "hosta: it has no session by now; watchdog 20s" in text
    assert "disk/nfs-data" in "\n".join(local.lines(report, "nfs"))


def test_without_a_promise_it_says_why_it_was_put_down() -> None:
    report = told(away, key=False)
    assert report.services["web"].why == "put down: without etcd another host may be taking it over"


def test_an_agent_that_began_without_etcd_says_so() -> None:
    async def tell(cluster: Cluster) -> None:
        await away(cluster)
        cluster.kill("hosta")
        await cluster.run(30)

    report = told(tell)
    assert (report.synced, report.services["web"].why) == (False, "kept by promise of hostb")
    assert "not since it began" in "\n".join(local.lines(report))


# -- over the socket ---------------------------------------------------------------------------------------------------


class Nobody:
    """An etcd that does not answer."""

    async def list(self, prefix: str) -> None:
        raise StoreUnreachable("etcd did not answer in time; tried http://192.0.2.1:2379")


DESK = Desk(Nobody())  # type: ignore[arg-type]


async def test_status_falls_back_to_the_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    socket = tmp_path / "run" / "agent.sock"
    report = Report(host="hosta", boot_id="b", etcd=40, connected=False, synced=True, safe=0)
    async with local.listening(lambda: report, socket):
        assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0
        assert await local.ask(socket) == report
        await status.status(DESK, "", None, wait=False, timeout=None, socket=socket)
        assert capsys.readouterr().out.startswith("etcd is out of reach for 40s. This is what the agent of hosta knows")
        await status.status(DESK, "", Format.JSON, wait=False, timeout=None, socket=socket)
        found = json.loads(capsys.readouterr().out)
        assert (found["without_etcd"]["host"], found["without_etcd"]["etcd"]) == ("hosta", 40)
        with pytest.raises(Refused) as caught:
            await status.status(DESK, "", None, wait=True, timeout=None, socket=socket)
        assert caught.value.code is Code.NO_ETCD
        with pytest.raises(Refused, match="hosta knows of no service nfs"):
            await status.status(DESK, "nfs", None, wait=False, timeout=None, socket=socket)
    assert not socket.exists()


async def test_without_an_agent_the_sentence_stays(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="tried http"):
        await status.status(DESK, "", None, wait=False, timeout=None, socket=tmp_path / "agent.sock")
    (tmp_path / "dead.sock").touch()
    with pytest.raises(StoreUnreachable, match="tried http"):
        await status.status(DESK, "", None, wait=False, timeout=None, socket=tmp_path / "dead.sock")


async def test_an_agent_runs_on_where_the_socket_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with local.listening(lambda: Report.model_construct(), tmp_path / "file" / "agent.sock"):
        assert await local.ask(tmp_path / "file" / "agent.sock") is None
