"""The main job: a real NFS service moves between two real hosts under a client that writes; nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from examples.lab import rig
from tests.lab.conftest import DISKS

MOVES = 10


@pytest.fixture
def watched(nfs: str) -> Iterator[tuple[rig.Client, rig.Sampler]]:
    """A writing client, both hosts sampled."""
    with rig.sampling() as sampler, rig.writing() as client:
        yield client, sampler


def nothing_lost(client: rig.Client, sampler: rig.Sampler) -> None:
    """The end of every test here: what was acknowledged is there, and nothing was ever held by both hosts."""
    client.writes_on()
    found = client.end()
    assert found["writes"] > 20
    assert (found["lost"], found["wrong"], found["errors"]) == (0, 0, []), found
    samples = sampler.samples()
    assert all(len(samples[host]) > 20 for host in rig.HOSTS)
    assert all(any(sample["holds"] for sample in samples[host]) for host in rig.HOSTS), "the samplers saw nothing"
    assert rig.held_twice(samples) == []
    print(f"{found['writes']} writes, longest stall {found['longest_stall']} s")


def test_ten_moves(watched: tuple[rig.Client, rig.Sampler]) -> None:
    client, sampler = watched
    for number in range(MOVES):
        source, target = rig.HOSTS if number % 2 == 0 else rig.HOSTS[::-1]
        rig.hactl("set", "nfs", f"primary={target}", "--wait")
        assert rig.status("nfs")["state"] == "Ready"
        assert rig.status("nfs")["owner"] == target
        assert rig.disks_primary(target, DISKS) == list(DISKS)
        assert rig.disks_primary(source, DISKS) == []
        client.writes_on()
        rig.ready("nfs", target)
    nothing_lost(client, sampler)


# When an agent is killed: as soon as this is the newest of the service's steps (all steps: tests/sim).
MOMENTS = [
    ("hosta", "removed"),
    ("hosta", "unmounted"),
    ("hosta", "demoted"),
    ("hostb", "owned by"),
    ("hostb", "mounted"),
]


@pytest.mark.parametrize(("victim", "moment"), MOMENTS)
def test_a_killed_agent_finishes_the_move(watched: tuple[rig.Client, rig.Sampler], victim: str, moment: str) -> None:
    client, sampler = watched
    since = rig.on(victim, "date", "-u", "+%Y-%m-%d %H:%M:%S UTC").strip()
    rig.hactl("set", "nfs", "primary=hostb")
    rig.until(f"{victim}: {moment}", lambda: seen(victim, moment, since), every=0.05)
    rig.on(victim, "systemctl", "kill", "-s", "KILL", "hactl-agent", check=False)
    rig.ready("nfs", "hostb")
    nothing_lost(client, sampler)


def seen(host: str, moment: str, since: str) -> bool:
    """Did its agent log such a step?"""
    return moment in rig.on(host, "journalctl", "-q", "-o", "cat", "-u", "hactl-agent", "--since", since)


def test_an_agent_that_is_away_disturbs_nothing_and_goes_on_when_it_is_back(
    watched: tuple[rig.Client, rig.Sampler],
) -> None:
    client, sampler = watched
    rig.on("hosta", "systemctl", "stop", "hactl-agent")
    rig.hactl("set", "nfs", "primary=hostb", "--anyway")
    time.sleep(5)
    client.writes_on()
    assert rig.disks_primary("hosta", DISKS) == list(DISKS)
    assert rig.disks_primary("hostb", DISKS) == []
    rig.on("hosta", "systemctl", "start", "hactl-agent")
    rig.ready("nfs", "hostb")
    nothing_lost(client, sampler)
