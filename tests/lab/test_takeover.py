"""Faults of real hosts under a client that writes all the time: no acknowledged write is lost, nothing is ever held by
both hosts, and the service is Ready again where it should be.

One client and one pair of samplers see all of them: each test begins where the one before it left off, on whichever
host that was. Both survive power cuts, so what is compared after each test is everything since the first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from examples.lab import faults, rig
from tests.lab.conftest import DISKS, EXAMPLES, restore

TAKES = 120.0  # seconds a takeover may take on a busy machine; mostly the lease and the watchdog's time
SERVICE = "nfs"


@dataclass
class Site:
    """The service under its client, both hosts sampled."""

    client: rig.Client
    sampler: rig.Sampler

    def settled(self, failover: str) -> tuple[str, str]:
        """(the host that has it, the one that could take it over now)"""
        rig.hactl("set", SERVICE, f"failover={failover}")
        now = well_somewhere()
        rig.until(f"{now}'s session says what {failover} needs", lambda: guarded(now) is (failover == "automatic"), 30)
        self.client.writes_on()
        return now, other(now)

    def nothing_lost(self) -> None:
        """What was acknowledged so far is there, and nothing was ever held by both hosts."""
        self.client.writes_on(TAKES)
        found = self.client.compare()
        assert found["writes"] > 20
        assert (found["lost"], found["wrong"], found["errors"]) == (0, 0, []), found
        samples = self.sampler.samples()
        assert all(any(sample["holds"] for sample in samples[host]) for host in rig.HOSTS), "the samplers saw nothing"
        assert rig.held_twice(samples) == []


def other(host: str) -> str:
    return next(one for one in rig.HOSTS if one != host)


@pytest.fixture(scope="module")
def watched(lab: object) -> Iterator[Site]:
    """On hostb once and back, so that the samplers are seen to see."""
    restore()
    try:
        with rig.sampling() as sampler, rig.writing() as client:
            rig.hactl("set", SERVICE, "primary=hostb", "--wait")
            yield Site(client, sampler)
    finally:
        restore()


@pytest.fixture
def site(watched: Site) -> Iterator[Site]:
    """Hosts are put right after a test that failed: the next one is about something else."""
    yield watched
    for host in rig.HOSTS:
        if rig.lab("power", host, "status").stdout.strip() != "on":
            rig.lab("power", host, "off")
            rig.lab("power", host, "on")
        for wire in ("lan", "replication"):
            rig.lab("link", host, wire, "up")


@pytest.mark.parametrize("fault", faults.TAKEOVERS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_the_other_host_takes_it_over(site: Site, fault: type[faults.Fault]) -> None:
    """By itself, once the death of the one that had it is proven; that one comes back and stands by."""
    owner, heir = site.settled("automatic")
    done = fault()
    since = site.client.now()
    done.inflict(owner)
    if fault is not faults.AgentGone:  # whose host may be back before its session is gone for long enough
        rig.ready(SERVICE, heir, TAKES, alone=True)
        site.client.writes_on(TAKES)
        assert rig.status(SERVICE)["owner"] == heir
    done.mend()
    well_somewhere()
    site.nothing_lost()
    print(f"{fault.name}: longest stall {site.client.stalls(since)[0][0]:.1f} s")


def test_etcd_is_lost_and_the_client_does_not_notice(site: Site) -> None:
    """A member first, then quorum, and both come back. The hosts still reach each other: the failsafe."""
    owner, heir = site.settled("automatic")
    since = site.client.now()
    try:
        rig.on("witness", "systemctl", "stop", "etcd")
        time.sleep(8)
        rig.ready(SERVICE, owner, 20)
        rig.on(heir, "systemctl", "stop", "etcd")
        time.sleep(45)  # longer than the lease and the watchdog's time
        site.client.writes_on()
    finally:
        for host in ("witness", heir):
            rig.on(host, "systemctl", "start", "etcd")
    rig.ready(SERVICE, owner)
    site.nothing_lost()
    stall = site.client.stalls(since)[0][0]
    print(f"no quorum for 45 s: longest stall {stall:.1f} s")
    assert stall < 10


def test_a_copy_that_lacks_writes_is_not_promoted(site: Site) -> None:
    """The replication link is cut, the client writes on, the power of the only current copy is cut."""
    owner, heir = site.settled("automatic")
    rig.lab("link", owner, "replication", "down")
    rig.until("the other copy is marked", lambda: "missed writes" in obstacle(heir), 60)
    site.client.writes_on()
    cut = faults.PowerCut()
    cut.inflict(owner)
    proven(owner)
    time.sleep(10)
    assert rig.disks_primary(heir, DISKS) == []
    assert rig.status(SERVICE)["owner"] == owner
    screen = rig.hactl("status").stdout
    line = next(line for line in screen.splitlines() if line.startswith(SERVICE))
    assert f"{heir}: its copy of disk nfs-" in line, screen
    assert "missed writes" in line, screen
    cut.mend()
    rig.ready(SERVICE, owner, TAKES, alone=True)
    site.client.writes_on(TAKES)
    rig.lab("link", owner, "replication", "up")
    rig.ready(SERVICE, owner)
    site.nothing_lost()


def said() -> dict[str, Any]:
    """Its status; {} while etcd chooses a leader."""
    return rig.status_or_none(SERVICE) or {"state": "", "reason": "", "targets": {}}


def well_somewhere() -> str:
    """Waits until it is Ready where it is and the other host could take it over; where. Whom etcd names as owner may be
    one that has just died: whom it is waited for is looked at anew each time."""

    def look() -> str:
        now = said()
        able = any(target["ready"] for target in now["targets"].values())
        return now["owner"] if now["state"] == "Ready" and able else ""

    found: str = rig.until(f"{SERVICE} is Ready on either host", look, 180)
    return found


def guarded(host: str) -> bool:
    """Would its watchdog prove it dead, for this service?"""
    hosts = json.loads(rig.hactl("status", SERVICE, "-o", "json").stdout)["hosts"]
    session = next(one for one in hosts if one["host"] == host)["session"]
    return session is not None and SERVICE in session["guards"]


def obstacle(host: str) -> str:
    """What stands in the way of a move to that host, as a clause, or ""."""
    return "; ".join(said()["targets"].get(host, {}).get("obstacles", []))


def proven(host: str) -> None:
    """Waits until its death is."""
    rig.until(f"{host}'s death is proven", lambda: f"{host} is dead" in said()["reason"], 90)


def test_a_human_who_moves_it_has_a_host_that_hangs_fenced(site: Site) -> None:
    """failover: manual. Its power is cut by the fence agent, and only then is it taken over."""
    owner, heir = site.settled("manual")
    rig.apply(rig.HERE / "hosts-fencing.yaml")
    try:
        frozen = faults.Frozen()
        frozen.inflict(owner)
        away(owner)
        time.sleep(5)
        assert rig.status(SERVICE)["owner"] == owner  # nobody said that it is to move
        assert rig.lab("power", owner, "status").stdout.strip() == "frozen"
        rig.hactl("set", SERVICE, f"primary={heir}")
        rig.ready(SERVICE, heir, TAKES, alone=True)
        assert rig.lab("power", owner, "status").stdout.strip() == "off"
        assert "fence_lab confirmed" in rig.hactl("audit", f"host/{owner}", "--last", "1").stdout
        site.client.writes_on(TAKES)
        rig.lab("power", owner, "on")
        rig.ready(SERVICE, heir)
    finally:
        rig.apply(EXAMPLES / "hosts.yaml")
    site.nothing_lost()


def away(host: str) -> None:
    """Waits until its session is gone."""
    rig.until(f"{host} has no session", lambda: said()["state"] == "Unknown", 60)


def test_without_a_fence_agent_a_human_confirms_the_death(site: Site) -> None:
    owner, heir = site.settled("manual")
    refused = rig.hactl("confirm-dead", owner, "--yes", check=False)
    assert refused.returncode == 3, refused
    assert "is alive" in refused.stderr
    cut = faults.PowerCut()
    cut.inflict(owner)
    away(owner)
    waits = rig.hactl("set", SERVICE, f"primary={heir}").stdout
    assert f"hactl confirm-dead {owner}" in waits
    time.sleep(5)
    assert rig.disks_primary(heir, DISKS) == []
    rig.hactl("confirm-dead", owner, "--yes", "--reason", "its plug is in my hand")
    rig.ready(SERVICE, heir, TAKES, alone=True)
    site.client.writes_on(TAKES)
    cut.mend()
    rig.ready(SERVICE, heir)
    site.nothing_lost()
