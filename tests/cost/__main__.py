"""make cost: measures what an agent costs at 10 to 1,000 services and writes docs/cost.md and docs/cost.svg."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loguru import logger

from tests.contract.members import Members
from tests.cost import chart
from tests.cost.agent import Cost

DOCS = Path(__file__).resolve().parents[2] / "docs"
COUNTS = (10, 20, 50, 100, 200, 1000)
SECONDS = 30.0  # idle: one resync

PAGE = """# What it costs

Written by `make cost`, in CPU time, so that a busy machine changes little: one agent in real time with a real etcd,
on a simulated host. Each service has a container, two disks, two addresses, two units and a check; it is looked at
every 30 s. What the programs cost that an agent runs on a real host (`drbdsetup` for each disk and pass) is not in it.

{table}

![CPU idle, and of a start, over the number of services](cost.svg)

- *idle*: of one core, with nothing to do but renewals and resyncs. Wanted: under 1 % and under 120 MB with 20 services.
- *a pass*: all of a service read, compared and judged, with nothing to repair.
- *a change*: a service's spec written anew, told by the watch, taken apart, looked at, said.
- *start*: until all are Ready that were down before, a service.

Between resyncs an idle host runs no program and writes nothing to etcd: tests/sim/test_idle.py.
"""


def measured(count: int) -> Cost:
    """In a process of its own, with an etcd of its own."""
    members = Members(1)
    try:
        argv = [sys.executable, "-m", "tests.cost.agent", str(count), members.endpoints[0], str(SECONDS)]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        members.end()
    return Cost(**json.loads(done.stdout))


def table(costs: list[Cost]) -> str:
    head = "| services | idle | a pass | a change | start, a service | memory |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {one.services:,} | {one.idle:.2%} | {one.one_pass * 1000:.1f} ms | {one.change * 1000:.1f} ms "
        f"| {one.start / one.services * 1000:.0f} ms | {one.memory / 1e6:.0f} MB |"
        for one in costs
    )


def main() -> None:
    """All counts side by side: most of the time is waited, and what counts is CPU time."""
    logger.disable("reconciler")
    with ThreadPoolExecutor() as pool:
        costs = list(pool.map(measured, COUNTS))
    print(table(costs), flush=True)
    (DOCS / "cost.md").write_text(PAGE.format(table=table(costs)), encoding="utf-8")
    (DOCS / "cost.svg").write_text(chart.drawn(costs), encoding="utf-8")


main()
