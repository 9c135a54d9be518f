"""Every directory under scenarios/ is a story that must end as its log says: see reconciler/sim/scenario.py.

A log is written anew with HACTL_WRITE_LOGS=1 in the environment; read the difference before it is kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.sim.scenario import comparable, load, tell

ALL = sorted((Path(__file__).parent / "scenarios").iterdir())
MORE_SEEDS = (2,)


@pytest.mark.parametrize("directory", ALL, ids=[one.name for one in ALL])
def test_scenario(directory: Path) -> None:
    scenario, expected = load(directory), directory / "expected.log"
    log = tell(scenario, seed=1)
    if os.environ.get("HACTL_WRITE_LOGS"):
        expected.write_text("\n".join(log) + "\n")
    assert comparable(log) == comparable(expected.read_text().splitlines())


@pytest.mark.parametrize("directory", ALL, ids=[one.name for one in ALL])
def test_scenario_with_other_chances(directory: Path) -> None:
    for seed in MORE_SEEDS:
        tell(load(directory), seed)
