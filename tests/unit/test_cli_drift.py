"""hactl drift and hactl watch on a simulated cluster: what a hand breaks is shown, and what put it right."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from loguru import logger

from reconciler.cli import drift, status, watch
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code
from reconciler.cli.history import event_line
from reconciler.cli.scene import look
from reconciler.records import Event
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster
from tests.unit.test_cli_commands import NFS, Capture, refused, story

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
    assert header.split() == ["OPEN", "FOR", "SERVICE", "HOST", "RESOURCE", "EXPECTED", "OBSERVED", "NOTE"]
    (unit,) = [line for line in lines if "unit/nfs.service" in line]
    assert "nfs  " in unit
    assert "active" in unit
    assert "failed" in unit
    assert "its systemd says exit-code (journalctl -u nfs.service)" in unit
    assert "could not start nfs.service" in unit
    (gone,) = [line for line in lines if ADDRESS in line]
    assert lines.index(gone) > lines.index("put right within a day:")
    assert gone.endswith(f"address {ADDRESS} is missing on eth0; repaired by: {ADDRESS} added")


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
    seen = next(
        n
        for n, line in enumerate(lines)
        if line.endswith(f"drift: address {ADDRESS} is missing on eth0; expected: on eth0")
    )
    assert any(f"{ADDRESS} added" in line for line in lines[seen:])
    assert lines[-1].endswith("is Ready") or "no longer" in lines[-1]
    assert not any("\x1b" in line for line in lines)


def test_watch_says_that_etcd_is_away_and_then_what_happened_meanwhile(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        watching = asyncio.create_task(watch.watch(desk, ""))
        await cluster.run(2)
        hands.member(cluster, "all", "stopped")
        await cluster.run(30)
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        await cluster.run(5)
        hands.member(cluster, "all", "up")
        await cluster.run(30)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    (away,) = [n for n, line in enumerate(lines) if "etcd does not answer" in line]
    (back,) = [n for n, line in enumerate(lines) if line.endswith("etcd answers again")]
    (seen,) = [n for n, line in enumerate(lines) if f"drift: address {ADDRESS} is missing on eth0" in line]
    (gone,) = [n for n, line in enumerate(lines) if f"repaired by: {ADDRESS} added" in line]
    assert away < back < seen < gone


def test_watch_goes_on_when_its_past_is_compacted_away(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        watching = asyncio.create_task(watch.watch(desk, "nfs"))
        await cluster.run(2)
        hands.break_watches(cluster)
        hands.compact(cluster)
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        await cluster.run(30)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    story(tell)
    out = capsys.readouterr().out
    assert out.count(f"drift: address {ADDRESS} is missing on eth0") == 1
    assert "etcd" not in out


def test_watch_says_that_a_host_has_gone_and_is_back(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        watching = asyncio.create_task(watch.watch(desk, ""))
        await cluster.run(2)
        cluster.power("hostb", False)
        await cluster.run(40)
        cluster.power("hostb", True)
        await cluster.run(60)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    story(tell)
    lines = [line for line in capsys.readouterr().out.splitlines() if "session" in line]
    assert [line.split(None, 2)[2] for line in lines] == [
        "hostb           has no session: its agent is away, or the host is (hactl status hostb)",
        "hostb           has a session: its agent is there",
    ]


def test_a_silent_host_is_named_beside_that_nothing_differs(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.power("hostb", False)
        await cluster.run(40)
        await drift.drift(desk, "nfs", NOW, as_json=False)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert "hostb cannot say: no session (hactl status hostb)" in lines


def test_a_service_that_never_was_is_refused() -> None:
    async def tell(_: Cluster, desk: Desk) -> None:
        assert (await refused(drift.drift(desk, "nsf", NOW, as_json=False))).code is Code.WRONG

    story(tell)


def test_more_than_are_shown_are_counted(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        for _ in range(2):
            hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
            await cluster.run(5)
        await drift.drift(desk, "", NOW, as_json=False, last=1)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "put right within a day, the last 1 of 2:"
    assert "lasted " in lines[-1]


def test_the_note_of_one_drift_is_not_the_clause_of_another(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hosta", "systemctl start nfs.service", "hang")
        hands.unit(cluster, "hosta", "nfs", "nfs.service", "failed")
        hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
        await cluster.run(5)
        await drift.drift(desk, "", NOW, as_json=False)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    (address,) = [line for line in lines if "address/" in line]
    assert address.endswith("0/2 start nfs.service")


def test_what_a_standby_lacks_is_drift_too(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hostb", "drbdadm adjust nfs-data", "fail")
        await hands.drbdadm(cluster, "hostb", "detach", "nfs-data")
        await cluster.run(5)
        await drift.drift(desk, "", NOW, as_json=False)
        hands.fault(cluster, "hostb", "drbdadm adjust nfs-data", "none")
        await cluster.run(60)
        await drift.drift(desk, "", NOW, as_json=False)

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    assert "Secondary, Diskless" in lines[1]
    assert "could not attach disk nfs-data" in lines[1]
    assert lines[2] == "nothing differs from the spec"
    assert lines[-1].endswith("disk nfs-data is Diskless here; repaired by: disk nfs-data attached")


def test_the_sides_of_a_half_switched_service_make_one_sentence(capsys: Capture) -> None:
    sentence = (
        "half-switched: nfs-data is Primary on hosta, nfs-state is Primary on hostb; all are to be Primary on hosta"
    )

    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hostb", "drbdadm secondary nfs-state", "hang")
        hands.unmount(cluster, "hosta", "nfs", "/srv/state")
        await hands.drbdadm(cluster, "hosta", "secondary", "nfs-state")
        await hands.drbdadm(cluster, "hostb", "primary", "nfs-state")
        await cluster.run(5)
        reason = status.health_of(await look(desk.store), "nfs").reason
        assert reason.startswith(f"{sentence}; ")
        assert reason.count("disk nfs-state is") == 0, "what each side says of its role is in the sentence"
        await drift.drift(desk, "", NOW, as_json=False)
        hands.fault(cluster, "hostb", "drbdadm secondary nfs-state", "none")
        await cluster.run(60)
        assert "half-switched" not in status.health_of(await look(desk.store), "nfs").reason

    story(tell)
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines() if "  disks  " in line]
    cells = [[cell.strip() for cell in row if cell] for row in rows]
    assert sorted(row[2:6] for row in cells) == [
        ["hosta", "disks", "nfs-data, nfs-state Primary", "nfs-data Primary, nfs-state Secondary"],
        ["hostb", "disks", "nfs-data, nfs-state Secondary", "nfs-data Secondary, nfs-state Primary"],
    ]


def test_of_a_silent_host_a_half_switched_service_says_nothing() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hostb", "drbdadm secondary nfs-state", "fail")
        hands.unmount(cluster, "hosta", "nfs", "/srv/state")
        await hands.drbdadm(cluster, "hosta", "secondary", "nfs-state")
        await hands.drbdadm(cluster, "hostb", "primary", "nfs-state")
        await cluster.run(5)
        cluster.power("hosta", False)
        await cluster.run(40)
        reason = status.health_of(await look(desk.store), "nfs").reason
        assert reason.startswith(
            "half-switched: nfs-data is not Primary on hostb, nfs-state is Primary on hostb; all are"
        )

    story(tell)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {
                "kind": "drift",
                "text": "a.service is failed (signal)",
                "expected": "active",
                "reason": "its systemd says",
            },
            "drift: a.service is failed (signal); expected: active; cause: its systemd says",
        ),
        ({"kind": "drift", "text": "a.service is inactive"}, "drift: a.service is inactive"),
        ({"kind": "repaired", "text": "no longer: x", "by": ["y", "z"]}, "no longer: x; repaired by: y, z"),
        ({"kind": "repaired", "text": "no longer: x"}, "no longer: x; it went by itself"),
        ({"kind": "step", "text": "y added", "reason": "it is missing"}, "y added: it is missing"),
    ],
)
def test_an_event_is_read_aloud(fields: dict[str, object], words: str) -> None:
    event = Event.model_validate({"at": "2026-11-24T07:02:11.123Z", "host": "hosta", **fields})
    assert event_line(event) == f"2026-11-24 07:02:11Z  hosta           {words}"
