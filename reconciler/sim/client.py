"""A client of a service: finds it at its HA address, writes without pause, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio

from reconciler.sim.rules import missing
from reconciler.sim.world import Host, World, ip_of
from reconciler.spec import ServiceManifest
from resources.words import disks

PAUSE, PATIENCE = 0.2, 5.0  # seconds


class Client:
    """`pause`: seconds between two writes; `acknowledged`: writes; `longest`: seconds between two of them. A write goes
    to every disk of the service."""

    def __init__(self, world: World, service: ServiceManifest, pause: float = PAUSE) -> None:
        self._world, self._service, self._pause = world, service, pause
        self._address = ip_of(service.spec.get("addresses")[0].address)
        self.acknowledged = 0
        self.longest = 0.0
        self.last = 0.0  # when the last one was acknowledged, in the story's seconds

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        self.last = loop.time()
        while True:
            if await self._write():
                self.acknowledged += 1
                self.longest = max(self.longest, loop.time() - self.last)
                self.last = loop.time()
                await asyncio.sleep(self._pause)
            else:
                await asyncio.sleep(self._pause / 2)

    async def _write(self) -> bool:
        """Was it acknowledged within the client's patience? It may be later."""
        server = self._server()
        if server is None:
            return False
        written = [self._written(disk.resource, server) for disk in disks(self._service.spec)]
        if all(one.is_set() for one in written):
            return True
        try:
            async with asyncio.timeout(PATIENCE):
                for one in written:
                    await one.wait()
        except TimeoutError:
            return False
        return True

    def _written(self, resource: str, server: Host) -> asyncio.Event:
        done = asyncio.Event()
        self._world.disks[resource].write(server.name, done.set)
        return done

    def _server(self) -> Host | None:
        """Who answers at the address and serves."""
        there = self._world.reach(self._address)
        if len(there) != 1:
            return None
        host, _ = there[0]
        return host if not missing(self._world, self._service, host.name) else None
