"""One agent with N services on a simulated host, in real time, with a real etcd: what it costs, as a line of JSON.

    python -m tests.cost.agent N ENDPOINT SECONDS

In a process of its own, so that its memory and its CPU time are the agent's, and what little the simulated host takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loguru import logger

import reconciler.linux  # noqa: F401  # not used, but a real agent has it in its memory
from reconciler.etcd import Etcd
from reconciler.loop import Agent, Options
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Domain, World
from reconciler.spec import ServiceManifest, to_json, validate
from reconciler.store import Store, Txn, outdated_key, service_key
from resources.words import disks

STARTS = 600.0  # seconds
SETTLES = 3.0  # seconds, until the passes that follow a step are over
CHANGES = 20
AT_ONCE = 50  # keys in a transaction


@dataclass(frozen=True)
class Cost:
    """CPU in seconds: until all were Ready; idle, in a second; of a pass; of a change of one service, seen and looked
    at. `memory`: bytes resident, at the end."""

    services: int
    start: float
    idle: float
    one_pass: float
    change: float
    memory: int


def service(number: int) -> ServiceManifest:
    """As a site has them: a container, two disks, two addresses, two units, a check."""
    name = f"service-{number}"
    spec = {
        "hosts": ["hosta", "hostb"],
        "primary": "hosta",
        "failover": "automatic" if number % 2 else "manual",
        "container": {"domain": name},
        "disks": [{"resource": f"{name}-{what}", "mount": f"/srv/{what}"} for what in ("data", "state")],
        "addresses": [
            {"address": f"10.{number // 250}.{number % 250}.1/32"},
            {"address": f"2001:db8::{number + 1:x}/128"},
        ],
        "units": [f"{name}-first.service", f"{name}.service"],
        "checks": [{"tcp": 2049}],
    }
    found = validate({"apiVersion": "hactl/v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    assert isinstance(found, ServiceManifest)
    return found


def world(services: list[ServiceManifest]) -> World:
    """Two hosts with all that the services need; only the first has an agent."""
    there = World(("hosta", "hostb"))
    for one in services:
        for disk in disks(one.spec):
            there.add_disk(disk.resource, ("hosta", "hostb"))
        for host in there.hosts.values():
            host.domains[str(one.spec.domain)] = Domain(str(one.spec.domain))
    return there


async def put(store: Store, values: dict[str, str]) -> None:
    keys = sorted(values)
    for i in range(0, len(keys), AT_ONCE):
        await store.commit(Txn({}, {key: (values[key], 0) for key in keys[i : i + AT_ONCE]}))


async def measured(doing: Callable[[], Awaitable[Any]]) -> float:
    """CPU seconds of this process meanwhile."""
    before = time.process_time()
    await doing()
    return time.process_time() - before


class Bench:
    """An agent at work."""

    def __init__(self, agent: Agent, desk: Store, services: list[ServiceManifest]) -> None:
        self._agent, self._desk, self._services = agent, desk, services
        self._names = [one.metadata.name for one in services]

    def _states(self) -> list[str]:
        said = [self._agent.local.publisher.said(name) for name in self._names]
        return [one.state if one is not None else "" for one in said]

    def _are_ready(self, count: int) -> bool:
        return self._states().count("Ready") >= count

    async def begin(self) -> None:
        """As many at a time as the machine starts without standing still meanwhile."""
        for first in range(0, len(self._services), AT_ONCE):
            some = self._services[first : first + AT_ONCE]
            await put(self._desk, {service_key(one.metadata.name): text(one) for one in some})
            await until(partial(self._are_ready, first + len(some)), 0.5)
        await asyncio.sleep(SETTLES)

    async def ready(self) -> None:
        await until(partial(self._are_ready, len(self._names)), 0.5)
        await asyncio.sleep(SETTLES)

    def _passes(self) -> int:
        return dict(self._agent.local.publisher.counts.passes())["+Inf"]

    async def look_at_all(self) -> int:
        """A mark on a disk of nobody's has every service looked at. Returns the passes."""
        before = self._passes()
        await put(self._desk, {outdated_key("nobodys", "hostb"): str(before)})
        await until(lambda: self._passes() >= before + len(self._names), 0.1)
        return self._passes() - before

    async def change(self) -> None:
        """A spec is written anew, and looked at."""
        for _ in range(CHANGES):
            after = partial(self._passed, self._passes())
            await put(self._desk, {service_key(self._names[0]): text(self._services[0])})
            await until(after, 0.05)

    def _passed(self, before: int) -> bool:
        return self._passes() > before


def ended(task: asyncio.Task[None]) -> None:
    """An agent that ends by itself has nothing to measure: its host was reset, or it broke down."""
    if not task.cancelled():
        sys.exit(f"the agent has ended: {task.exception()!r}")


async def until(condition: Callable[[], bool], every: float) -> None:
    """Looked at every so many seconds. Raises TimeoutError."""
    end = time.monotonic() + STARTS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(every)


def text(manifest: ServiceManifest) -> str:
    return to_json(manifest.model_dump(mode="json", exclude_none=True))


async def cost(count: int, endpoint: str, seconds: float) -> Cost:
    services = [service(number) for number in range(count)]
    machine = SimMachine(world(services).hosts["hosta"], "cost", lambda _effect: None)
    store, desk = Etcd([endpoint], client="cost"), Etcd([endpoint], client="desk")
    agent = Agent(store, machine, Options(watchdog="/dev/watchdog"))
    running = asyncio.create_task(agent.run())
    running.add_done_callback(ended)
    bench = Bench(agent, desk, services)
    try:
        start = await measured(bench.begin)
        idle = await measured(lambda: asyncio.sleep(seconds)) / seconds
        passes = 0

        async def all_of_them() -> None:
            nonlocal passes
            passes = await bench.look_at_all()

        one_pass = await measured(all_of_them) / max(1, passes)
        await bench.ready()
        change = await measured(bench.change) / CHANGES
        return Cost(count, start, idle, one_pass, change, resident())
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await agent.stop()
        await store.close()
        await desk.close()


def resident() -> int:
    """Bytes, as proc(5) has them."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    logger.remove()
    print(json.dumps(asdict(asyncio.run(cost(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))))
