"""The commands with a service that is everywhere: on a simulated cluster, with real agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from loguru import logger

from reconciler.cli import apply, delete, plan, set_, status
from reconciler.cli.desk import Desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.main import run as hactl
from reconciler.cli.scene import look
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster
from tests.sim.services import NFS
from tests.sim.test_beside import DHCP
from tests.sim.test_everywhere import DNS, ONCE

HERE = "{address: 192.0.2.53/24, host: hosta}"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


def story(tell: Callable[[Cluster, Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        cluster = Cluster(seed=1, manifests=[DNS, NFS])
        await cluster.start(clients=False)
        await cluster.until_ready()
        await cluster.run(10)
        await tell(cluster, Desk(cluster.desk, "eva", "witness", "witness"))

    simulate(run())


async def refused(what: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await what
    return caught.value


def test_status_says_both_and_one_state() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        (_, line) = status.service_table(await look(desk.store), ["dns"])
        assert line.split()[:3] == ["dns", "both", "Ready"]
        assert line.endswith(" -")  # could move now; and no note
        found = status.as_json(await look(desk.store), "dns")["services"][0]
        assert (found["primary"], found["owner"], found["on"], found["targets"]) == (None, None, ["hosta", "hostb"], {})

        cluster.world.hosts["hostb"].faults["systemctl start dns.service"] = "fail"
        place = cluster.world.hosts["hostb"].place("dns")
        assert place is not None
        cluster.world.hosts["hostb"].set_unit(place, "dns.service", "failed", "failed", "exit-code")
        await cluster.run(10)
        one = status.health_of(await look(desk.store), "dns")
        assert one.state == "Drift"
        assert one.reason.startswith("hostb: ")
        assert "start dns.service" in one.reason  # it could not, or it is just being tried again
        assert "hosta" not in one.reason

        await cluster.stop_agent("hostb")
        await cluster.run(5)
        one = status.health_of(await look(desk.store), "dns")
        assert (one.state, one.reason[:24]) == ("Ready", "hostb has no session: is")
        await cluster.stop_agent("hosta")
        await cluster.run(5)
        assert status.health_of(await look(desk.store), "dns").state == "Unknown"

    story(tell)


def test_it_has_no_primary_to_set_or_to_plan() -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        for done in (
            set_.run(desk, "dns", ["primary=hostb"], set_.Options(), 0),
            plan.plan(desk, "dns", "primary=hostb"),
        ):
            error = await refused(done)
            assert error.code is Code.WRONG
            assert "primary is for a service that is on one host at a time, and mode is everywhere" in str(error)

    story(tell)


def test_a_change_is_waited_for_on_all_of_its_hosts(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await set_.run(desk, "dns", ["units=[dns.service, more.service]"], set_.Options(), None)
        for host in cluster.hosts:
            place = cluster.world.hosts[host].place("dns")
            assert place is not None
            assert place.units["more.service"].active == "active"

    story(tell)
    assert "dns is Ready on hosta and hostb. It took " in capsys.readouterr().out


def test_it_becomes_exclusive_by_deletion_alone(tmp_path: Path, capsys: Capture) -> None:
    once = tmp_path / "dns.yaml"
    document = ONCE.model_dump(mode="json", exclude_unset=True)
    once.write_text(yaml.safe_dump({**document, "spec": {**document["spec"], "mode": "exclusive"}}))

    async def tell(cluster: Cluster, desk: Desk) -> None:
        error = await refused(apply.apply_all(desk, apply.load_all([once]), apply.Options()))
        assert (error.code, "hactl delete dns --wait" in str(error)) == (Code.UNSAFE, True)
        change = ["mode=exclusive", "addresses=[]"]
        assert (await refused(set_.run(desk, "dns", change, set_.Options(), 0))).code is Code.UNSAFE
        await delete.delete(desk, "dns", "", wait=None)
        await apply.apply_all(desk, apply.load_all([once]), apply.Options())
        cluster.knows(ONCE)
        await cluster.until_ready()

    story(tell)
    assert "dns is gone. It took " in capsys.readouterr().out


def test_forgotten_it_runs_on_everywhere(capsys: Capture) -> None:
    async def tell(cluster: Cluster, desk: Desk) -> None:
        await delete.delete(desk, "dns", "", keep_running=True)

    story(tell)
    assert "dns is forgotten: it runs on, on hosta and hostb\n" in capsys.readouterr().out


def test_simulate_tells_of_it(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "dns.yaml"
    file.write_text(yaml.safe_dump(DNS.model_dump(mode="json", exclude_unset=True)))
    assert hactl(["simulate", str(file), "--fault", "5s kill-agent hosta"]) == 0
    out = capsys.readouterr().out
    assert "dns: on hosta and hostb at once\n" in out
    assert "dns is up on hosta and hostb.\n" in out


def test_a_guest_and_its_container_go_together_or_are_refused(tmp_path: Path) -> None:
    dhcp = DHCP.model_dump(mode="json", exclude_unset=True)
    file = tmp_path / "dhcp.yaml"

    async def tell(cluster: Cluster, desk: Desk) -> None:
        file.write_text(yaml.safe_dump({**dhcp, "spec": {**dhcp["spec"], "container": {"of": "nfs"}}}))
        error = await refused(apply.apply_all(desk, apply.load_all([file]), apply.Options()))
        assert "service/dhcp: spec.container.of: nfs is on one host at a time, and what moves as one" in str(error)
        file.write_text(yaml.safe_dump({**dhcp, "spec": {**dhcp["spec"], "hosts": ["hosta", "hostc"]}}))
        error = await refused(apply.apply_all(desk, apply.load_all([file]), apply.Options()))
        assert "dhcp may come to hostc, and its container is that of dns, which is on hosta, hostb only" in str(error)

        file.write_text(yaml.safe_dump({**dhcp, "spec": {**dhcp["spec"], "disks": []}}))
        await apply.apply_all(desk, apply.load_all([file]), apply.Options())
        await cluster.run(10)
        assert status.health_of(await look(desk.store), "dhcp").state == "Ready"
        error = await refused(set_.run(desk, "dns", ["hosts=[hosta]", f"addresses=[{HERE}]"], set_.Options(), 0))
        assert "dhcp: dhcp may come to hostb" in str(error)
        for keep_running in (True, False):
            error = await refused(delete.delete(desk, "dns", "", keep_running=keep_running))
            assert (error.code, "dhcp is in the container of dns" in str(error)) == (Code.UNSAFE, True)
        await set_.run(desk, "dhcp", ["primary=hostb"], set_.Options(), None)
        await delete.delete(desk, "dhcp", "", wait=None)
        await delete.delete(desk, "dns", "", wait=None)

    story(tell)
