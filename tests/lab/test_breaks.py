"""Each part of a running NFS service, broken by hand under a client that writes: seen, told in the right words,
repaired, and the client's next write is acknowledged. Nothing is lost, nothing is ever held by both hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.lab import breaks, rig
from tests.lab.conftest import DISKS, restore


@pytest.fixture(scope="module")
def client(lab: object) -> Iterator[rig.Client]:
    """One for all of them; compared at the end."""
    restore()
    with rig.sampling() as sampler, rig.writing() as client:
        yield client
        client.writes_on(90)
        found = client.compare()
        samples = sampler.samples()
    assert (found["lost"], found["wrong"]) == (0, 0), found
    assert [one for one in found["errors"] if "Read-only file system" not in one] == []  # as long as it was just that
    assert rig.held_twice(samples) == []


@pytest.mark.parametrize("one", breaks.BREAKS, ids=lambda one: one.name.replace(" ", "-"))
def test_what_is_broken_by_hand_is_put_right(client: rig.Client, one: breaks.Break) -> None:
    rig.ready("nfs", "hosta")
    client.writes_on(90)
    since = client.now()
    found = breaks.healed(one, "hosta", "hostb")
    rig.ready("nfs", "hosta")
    client.writes_on(90)
    assert rig.disks_primary("hosta", DISKS) == list(DISKS)
    stall = client.stalls(since)[0][0]
    print(f"{one.name}: seen after {found.seen:.3f} s, repaired after {found.repaired:.3f} s, stall {stall:.1f} s")
