"""The agent of either host is killed right after each effect of a first start and of a move, in turn; systemd starts it
again, and what was begun is finished, with all rules kept and nothing lost."""

from __future__ import annotations

import pytest

from reconciler.sim.cluster import Cluster, play
from tests.sim.services import NFS, service

pytestmark = pytest.mark.long

HOSTS = ("hosta", "hostb")
ROOTED = service("nfs", disks=[{"resource": "nfs-data", "mount": "/srv/ct/nfs", "where": "host"}])
SERVICES = {"warm": NFS, "root-on-disk": ROOTED}
SETTLES = 4.0  # seconds: the move is Ready long before


async def move(cluster: Cluster) -> None:
    """From the cluster's first start to the end of a move."""
    await cluster.until_ready()
    await cluster.set_primary("nfs", "hostb")
    await cluster.until_ready()
    await cluster.run(SETTLES)


def effects_of(which: str) -> list[tuple[str, str]]:
    """Of a run that nobody disturbs: (host, effect) in their order."""
    found: list[tuple[str, str]] = []

    async def story(cluster: Cluster) -> None:
        cluster.tap = lambda host, effect: found.append((host, effect))
        await cluster.start()
        await move(cluster)

    play(story, [SERVICES[which]], start=False)
    return found


EFFECTS = {which: effects_of(which) for which in SERVICES}


def test_the_same_seed_gives_the_same_run() -> None:
    assert effects_of("warm") == EFFECTS["warm"]
    assert {host for host, _ in EFFECTS["warm"]} == set(HOSTS)


def killed_at(which: str, number: int, victim: str) -> str:
    """Kill the victim's agent at that effect; what went wrong then, or ""."""
    count = 0

    async def story(cluster: Cluster) -> None:
        def tap(_host: str, _effect: str) -> None:
            nonlocal count
            count += 1
            if count == number + 1:
                cluster.kill(victim)

        cluster.tap = tap
        await cluster.start()
        await move(cluster)
        before = cluster.clients["nfs"].acknowledged
        await cluster.run(SETTLES)
        assert count > number
        assert cluster.clients["nfs"].acknowledged > before
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"

    try:
        play(story, [SERVICES[which]], start=False)
    except AssertionError as e:
        host, effect = EFFECTS[which][number]
        return f"{victim} killed after effect {number}, {effect!r} by {host}: {e}"
    return ""


@pytest.mark.parametrize("victim", HOSTS)
@pytest.mark.parametrize("which", SERVICES)
@pytest.mark.parametrize("slice_", range(4))
def test_an_agent_killed_after_any_effect_finishes_it_when_it_is_started_again(
    which: str, victim: str, slice_: int
) -> None:
    numbers = range(slice_, len(EFFECTS[which]), 4)
    wrong = [found for number in numbers if (found := killed_at(which, number, victim))]
    assert not wrong, f"{len(wrong)} of {len(numbers)}: " + "\n\n".join(wrong[:3])
