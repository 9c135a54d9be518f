"""hactl pause and resume on a simulated cluster: hands off, loudly, until somebody says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from loguru import logger

from reconciler.cli import apply, delete, drift, manifests, pause, plan, set_, status, watching
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code
from reconciler.cli.get import Format
from reconciler.cli.scene import look
from reconciler.records import Event, parse
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster
from reconciler.spec import ServiceManifest, to_json
from reconciler.store import ROOT, Txn, service_key
from tests.sim.services import service
from tests.unit.test_cli_commands import NFS, WAIT, Capture, audits, refused, spec, story

ADDRESS = NFS.spec.get("addresses")[0].address
NOW = datetime(2026, 11, 24, 7, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


async def paused(desk: Desk, reason: str = "new disks") -> None:
    await pause.each(desk, "nfs", everything=False, reason=reason, on=True)


async def resumed(desk: Desk) -> None:
    await pause.each(desk, "nfs", everything=False, reason="", on=False)


def test_nothing_is_repaired_until_it_is_resumed_and_the_drift_is_seen(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        await cluster.run(2)
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        hands.destroy(cluster, "hostb", "nfs")
        await cluster.run(60)
        await status.status(desk, "", None, wait=False, timeout=None)
        await drift.drift(desk, "nfs", NOW, as_json=False)
        opened = [one for one in await _events(desk) if one.kind == "drift"]
        assert {one.resource for one in opened} == {f"address/{ADDRESS}", "container/nfs"}
        await resumed(desk)
        await watching.until_ready(desk.store, await look(desk.store), "nfs", live=False)
        assert await cluster.not_ready("nfs") == ""

    story(tell)
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("nfs  ")]
    assert line.split()[:3] == ["nfs", "hosta", "Paused"]
    assert line.split()[4] == "-"
    assert f"(new disks); address {ADDRESS} is missing on eth0. To go on: hactl resume nfs" in line
    assert f"address/{ADDRESS}" in out


async def _events(desk: Desk) -> list[Event]:
    listing = await desk.store.list(f"{ROOT}events/nfs/")
    return [event for one in listing.entries if (event := parse(Event, one.value))]


def test_who_when_and_why_are_in_the_spec_the_audit_and_the_json(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        await paused(desk)
        await cluster.run(5)
        capsys.readouterr()
        await status.status(desk, "nfs", Format.JSON, wait=False, timeout=None)
        (one,) = json.loads(capsys.readouterr().out)["services"]
        (record,) = await audits(desk)
        assert (record.who, record.what, record.did, record.why) == ("eva", "service/nfs", "pause", "new disks")
        assert one["paused"] == {"at": record.at, "by": "eva", "why": "new disks"} == record.after["paused"]
        assert (one["state"], one["since"]) == ("Paused", record.at)
        assert one["hosts"]["hosta"]["state"] == one["hosts"]["hostb"]["state"] == "Paused"
        await resumed(desk)
        assert [record.did for record in await audits(desk)] == ["pause", "resume"]

    story(tell)


def test_a_change_is_refused_or_recorded_for_later(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        no = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(), WAIT))
        assert no.code is Code.UNSAFE
        assert str(no).startswith("refused: nfs is paused by eva since ")
        assert "hactl resume nfs. Nothing was changed. To have it done then: hactl set nfs … --anyway" in str(no)
        assert (await spec(desk))["primary"] == "hosta"
        assert "blocked now: hostb cannot take nfs: nfs is paused by eva" in "\n".join(
            await plan.plan(desk, "nfs", "primary=hostb")
        )
        waited = await refused(set_.run(desk, "nfs", ["primary=hostb"], set_.Options(anyway=True), WAIT))
        assert waited.code is Code.NOT_YET
        assert "nothing is done for nfs: nfs is paused by eva" in str(waited)
        await cluster.run(30)
        assert (await cluster.owner("nfs")).host == "hosta"
        await resumed(desk)
        await cluster.until_ready()
        assert (await cluster.owner("nfs")).host == "hostb"

    story(tell)
    out = capsys.readouterr().out
    assert "nfs: hosta -> hostb; it is paused, so this is done at hactl resume nfs" in out
    assert "nfs is resumed: its hosts make it as its spec says, which means a move from hosta to hostb" in out


def test_a_file_is_recorded_and_takes_no_pause_away(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        stands = NFS.model_dump(mode="json", exclude_unset=True)
        text = to_json({**stands, "spec": {**stands["spec"], "deadline": 90}})
        (loaded,) = manifests.parse(text, "nfs.yaml")[0]
        await apply.apply_all(desk, [loaded], apply.Options())
        await cluster.run(5)
        status_now = await cluster.status("nfs", "hosta")
        assert status_now is not None
        assert status_now.state == "Paused"
        assert (await spec(desk))["deadline"] == 90

    story(tell)
    assert (
        "changed: deadline default -> 90; it is paused, so this is done when it is resumed" in capsys.readouterr().out
    )


def test_it_is_not_deleted_but_may_be_forgotten() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        no = await refused(delete.delete(desk, "nfs", ""))
        assert (no.code, "--keep-running" in str(no)) == (Code.UNSAFE, True)
        await delete.delete(desk, "nfs", "", keep_running=True)

    story(tell)


def test_all_of_them_but_those_that_cannot_be(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await desk.store.commit(Txn({}, {service_key("bad"): ("{}", 0)}))
        no = await refused(pause.each(desk, "", everything=True, reason="", on=True))
        assert no.code is Code.WRONG
        assert (await cluster.spec("nfs")).metadata.paused is not None

    story(tell)
    out = capsys.readouterr().out
    assert "nfs is paused: nothing is done for it until hactl resume nfs" in out
    assert "bad: refused" in out or "the spec of bad in etcd is not valid" in out


@pytest.mark.parametrize(("name", "everything"), [("", False), ("nfs", True)])
def test_it_must_be_said_which(name: str, everything: bool) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        no = await refused(pause.each(desk, name, everything=everything, reason="", on=True))
        assert str(no) == "say which: hactl pause SERVICE, or hactl pause --all"

    story(tell)


def automatic() -> ServiceManifest:
    return service("nfs", failover="automatic")


def test_an_automatic_one_is_out_of_automatic_takeover_and_guarded_no_more(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await paused(desk)
        await cluster.run(20)
        assert all(one.guards == () for one in (await look(desk.store)).words().values())
        cluster.power("hosta", False)
        await cluster.run(300)
        assert (await cluster.owner("nfs")).host == "hosta"
        await status.status(desk, "nfs", None, wait=False, timeout=None)

    story(tell, automatic())
    out = capsys.readouterr().out
    assert "nobody takes it over meanwhile, whatever becomes of its host" in out
    assert "Paused" in out
