"""hactl drain and undrain on a simulated cluster: what leaves, in what order, what stays and why; who is a target."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from loguru import logger

from reconciler.cli import drain, hosts, pause, set_, status
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code
from reconciler.cli.get import Format
from reconciler.cli.leaving import needed, ordered
from reconciler.cli.scene import look
from reconciler.session import Options
from reconciler.sim import hands
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster, HostOptions
from reconciler.sim.scenario import load
from reconciler.spec import Manifest
from reconciler.store import Txn, service_key
from tests.sim.services import service
from tests.unit.test_cli_commands import WAIT, Capture, audits, refused, spec

SWITCH = "192.0.2.254"
GATE = [{"ping": [SWITCH], "attempts": [1]}]
DNS, GIT, NFS = service("dns"), service("git", gates=GATE), service("nfs")
SITE = load(Path(__file__).parents[1] / "sim" / "scenarios" / "postgres-switchover")
MAY = "hosta has no exclusive service any more: it may be rebooted. When it is back: hactl undrain hosta\n"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


def story(
    tell: Callable[[Cluster, Desk], Awaitable[None]],
    manifests: tuple[Manifest, ...] = (DNS, GIT, NFS),
    options: HostOptions | None = None,
) -> None:
    """On a cluster where all are Ready on their primaries."""

    async def run() -> None:
        cluster = Cluster(seed=1, manifests=manifests, options=options)
        cluster.world.neighbours.add(SWITCH)
        await cluster.start(clients=False)
        await cluster.until_ready()
        await cluster.run(10)
        await tell(cluster, Desk(cluster.desk, "eva", "witness", "witness"))

    simulate(run())


async def where(cluster: Cluster) -> dict[str, str]:
    return {name: (await cluster.owner(name)).host for name in sorted(cluster.services)}


def test_all_leave_one_after_the_other_and_it_is_said_that_it_may_be_rebooted(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options("new kernel"))
        assert await where(cluster) == {"dns": "hostb", "git": "hostb", "nfs": "hostb"}
        marked, *moved = await audits(desk)
        assert (marked.who, marked.what, marked.did, marked.why) == ("eva", "host/hosta", "drain", "new kernel")
        assert [(one.what, one.did) for one in moved] == [
            (f"service/{name}", "set primary=hostb") for name in ("dns", "git", "nfs")
        ]
        assert {one.why for one in moved} == {"hosta is drained: new kernel"}
        text = "\n".join(hosts.table(await look(desk.store)))
        assert "drained by eva since" in text
        assert "(new kernel): hactl undrain hosta" in text
        await drain.drain(desk, "hosta", drain.Options())  # nothing is left to do

    story(tell)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "hosta is drained: it is no target of moves and takeovers until hactl undrain hosta"
    ready = [line.partition(" is Ready")[0] for line in lines if " is Ready on hostb" in line]
    assert ready == ["dns", "git", "nfs"]
    assert lines.index("git: hosta -> hostb") > next(
        i for i, line in enumerate(lines) if line.startswith("dns is Ready")
    )
    assert "  hosta  nfs.service stopped" in out
    assert out.endswith(MAY)
    assert "hosta is drained already, by eva since" in out


def test_what_cannot_move_is_named_and_stays_the_others_move_and_it_goes_on_where_it_was(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await pause.each(desk, "dns", everything=False, reason="", on=True)
        hands.neighbour(cluster, SWITCH, "off")
        await cluster.run(60)
        no = await refused(drain.drain(desk, "hosta", drain.Options()))
        assert no.code is Code.NOT_YET
        first, *reasons, last = str(no).splitlines()
        assert first == "hosta keeps dns, git:"
        assert reasons[0].startswith("  dns: hostb cannot take it: dns is paused by eva since")
        assert reasons[1].startswith(f"  git: hostb cannot take it: gate ping {SWITCH} is shut")
        assert last == "When that is mended, hactl drain hosta goes on."
        assert await where(cluster) == {"dns": "hosta", "git": "hosta", "nfs": "hostb"}
        assert (await spec(desk, "git"))["primary"] == "hosta"
        hands.neighbour(cluster, SWITCH, "on")
        await pause.each(desk, "dns", everything=False, reason="", on=False)
        await cluster.run(60)
        await drain.drain(desk, "hosta", drain.Options())
        assert set((await where(cluster)).values()) == {"hostb"}

    story(tell)
    assert capsys.readouterr().out.endswith(MAY)


def test_what_is_in_the_way_for_a_moment_is_waited_for_and_the_others_go_first(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.neighbour(cluster, SWITCH, "off")
        await cluster.run(60)
        draining = asyncio.create_task(drain.drain(desk, "hosta", drain.Options()))
        await cluster.run(30)
        assert await where(cluster) == {"dns": "hostb", "git": "hosta", "nfs": "hostb"}
        hands.neighbour(cluster, SWITCH, "on")
        await draining
        assert (await where(cluster))["git"] == "hostb"

    story(tell)
    out = capsys.readouterr().out
    assert out.count(f"git: waits for a minute at most: hostb cannot take it: gate ping {SWITCH} is shut") == 1
    assert out.endswith(MAY)


def test_an_engine_that_takes_its_time_to_switch_over_is_not_in_the_way(capsys: Capture) -> None:
    """Meanwhile nobody is the primary, and the replica takes nothing from one."""

    async def tell(cluster: Cluster, desk: Desk) -> None:
        cluster.world.engines["patroni"].switches = 30.0
        await drain.drain(desk, "hosta", drain.Options())
        assert (await cluster.owner("postgres")).host == "hostb"

    story(tell, SITE.manifests, SITE.options)
    assert capsys.readouterr().out.endswith(MAY)


def test_one_that_fails_there_goes_back_and_the_others_move() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.fault(cluster, "hostb", "systemctl start git.service", "fail")
        no = await refused(drain.drain(desk, "hosta", drain.Options()))
        assert no.code is Code.NOT_YET
        assert "hosta keeps git:\n  git: git goes to hosta instead (hactl agent: set primary=hosta)" in str(no)
        await cluster.until_ready()
        assert await where(cluster) == {"dns": "hostb", "git": "hosta", "nfs": "hostb"}

    story(tell)


def test_several_at_once(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options(at_once=2))
        assert set((await where(cluster)).values()) == {"hostb"}

    story(tell)
    lines = capsys.readouterr().out.splitlines()
    begun = [i for i, line in enumerate(lines) if line.endswith(": hosta -> hostb")]
    ended = [i for i, line in enumerate(lines) if " is Ready on hostb" in line]
    assert len(begun) == len(ended) == 3
    assert begun[1] < ended[0] < begun[2]


def test_what_is_not_waited_for_is_told_at_once(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options(wait=False))
        await cluster.until_ready()
        assert set((await where(cluster)).values()) == {"hostb"}

    story(tell)
    assert capsys.readouterr().out.endswith("All are told to leave. hactl drain hosta says when they have.\n")


def test_a_rehearsal_changes_nothing(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.rehearse(desk, "hosta")
        hands.neighbour(cluster, SWITCH, "off")
        await cluster.run(60)
        no = await refused(drain.rehearse(desk, "hosta"))
        assert no.code is Code.UNSAFE
        assert f"hosta would keep git:\n  git: hostb cannot take it: gate ping {SWITCH} is shut" in str(no)
        assert await audits(desk) == []

    story(tell)
    out = capsys.readouterr().out
    assert "dns: hosta -> hostb\ngit: hosta -> hostb\nnfs: hosta -> hostb\ndry run: nothing was changed" in out


def test_a_drained_host_takes_nothing_not_even_after_its_reboot(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options())
        await hands.shutdown(cluster, "hosta")
        await cluster.run(20)
        cluster.power("hosta", True)
        await cluster.run(60)
        no = await refused(set_.run(desk, "nfs", ["primary=hosta"], set_.Options(), WAIT))
        assert "hosta cannot take nfs: hosta is drained by eva since" in str(no)
        cluster.power("hostb", False)
        await cluster.run(120)
        assert await where(cluster) == {"nfs": "hostb"}
        await drain.undrain(desk, "hosta", "")
        await cluster.until_ready()
        assert await where(cluster) == {"nfs": "hosta"}

    story(tell, (service("nfs", failover="automatic"),), Options(watchdog="/dev/watchdog", watchdog_seconds=10))
    assert "hosta takes services again" in capsys.readouterr().out


def test_undrain_moves_nothing_and_says_how(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options())
        await drain.undrain(desk, "hosta", "")
        await cluster.run(60)
        assert await where(cluster) == {"nfs": "hostb"}
        assert (await audits(desk))[-1].did == "undrain"
        await drain.undrain(desk, "hosta", "")

    story(tell, (NFS,))
    out = capsys.readouterr().out
    assert "  nfs stays where it is; to move it home: hactl set nfs primary=hosta --wait\n" in out
    assert "hosta is not drained; nothing was changed\n" in out


def test_what_was_on_its_way_to_the_host_stays_where_it_is() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        hands.libvirt(cluster, "hostb", "off")
        await cluster.run(5)
        await set_.run(desk, "nfs", ["primary=hostb"], set_.Options(anyway=True), 0.0)
        await drain.drain(desk, "hostb", drain.Options())
        assert (await spec(desk))["primary"] == "hosta"

    story(tell, (NFS,))


def test_a_spec_that_is_none_stays_and_is_named() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await desk.store.commit(Txn({}, {service_key("nfs"): ("{}", 0)}))
        no = await refused(drain.drain(desk, "hosta", drain.Options()))
        assert "hosta keeps nfs:\n  nfs: its spec in etcd is not valid" in str(no)

    story(tell, (NFS,))


def test_a_host_that_nobody_knows() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        no = await refused(drain.drain(desk, "hostx", drain.Options()))
        assert (no.code, str(no).startswith("refused: there is no host hostx")) == (Code.WRONG, True)

    story(tell, (NFS,))


def test_programs_are_told_too(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await drain.drain(desk, "hosta", drain.Options("new kernel"))
        capsys.readouterr()
        await status.status(desk, "", Format.JSON, wait=False, timeout=None)
        one, other = json.loads(capsys.readouterr().out)["hosts"]
        assert (one["drain"]["by"], one["drain"]["why"], other["drain"]) == ("eva", "new kernel", None)

    story(tell, (NFS,))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        ('{"spec": {"container": {"domain": "nfs"}}}', set()),
        ('{"spec": {"container": {"of": "dns"}, "after": "ldap"}}', {"dns", "ldap"}),
        ('{"spec": {"after": ["ldap", {"service": "nfs", "within": 60}]}}', {"ldap", "nfs"}),
    ],
)
def test_what_a_service_needs(text: str, names: set[str]) -> None:
    assert needed(text) == names


def test_what_is_needed_leaves_first_and_else_by_name() -> None:
    assert ordered({"web": {"nfs"}, "nfs": {"zfs"}, "zfs": set(), "dns": set()}) == ("dns", "zfs", "nfs", "web")
    assert ordered({"b": {"a"}, "a": {"b"}, "c": {"c"}}) == ("c", "a", "b")
