"""Random faults of all kinds, ten minutes each: the rules hold throughout, and all is Ready once all is well."""

from __future__ import annotations

import pytest

from reconciler.sim.chance import LASTS, random_scenario
from reconciler.sim.cluster import Broken
from reconciler.sim.scenario import tell
from tests.sim.services import GIT, NFS

SEEDS = range(5)
# 44, 160: the wanted host's copies were marked by an owner that has died since.
# 352: a copy was promoted in the middle of its resync.
FOUND = (44, 160, 352)


@pytest.mark.parametrize("seed", [*SEEDS, *FOUND])
def test_a_random_story(seed: int) -> None:
    scenario = random_scenario(seed, [NFS, GIT])
    try:
        tell(scenario, seed)
    except Broken as e:
        lines = "\n".join(f"{line.at:g} {line}" for line in scenario.story)
        pytest.fail(f"{e}\n\nThe story, for a directory under scenarios/:\n{lines}")


def test_a_story_is_the_same_each_time_and_ends_well() -> None:
    one, again = random_scenario(7, [NFS]), random_scenario(7, [NFS])
    assert one == again
    assert one != random_scenario(8, [NFS])
    assert one.story[0].at > 0
    assert one.story[-1].at <= LASTS
