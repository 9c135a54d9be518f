"""A client of a service: finds it at its HA address, or at one of its addresses where it is everywhere, writes without
pause, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio

from reconciler.modes import EVERYWHERE
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
        self._addresses = [ip_of(one.address) for one in service.spec.get("addresses")]
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
        """Who answers at the address and serves; of a service that is everywhere, at one of its addresses. One without
        an address is asked where it is."""
        for address in self._addresses if self._service.spec.mode == EVERYWHERE else self._addresses[:1]:
            there = self._world.reach(address)
            if len(there) == 1 and not missing(self._world, self._service, there[0][0].name):
                return there[0][0]
        hosts = [] if self._addresses else [self._world.hosts[name] for name in self._service.spec.hosts]
        serves = [one for one in hosts if one.links["lan"] and not missing(self._world, self._service, one.name)]
        return serves[0] if serves else None
