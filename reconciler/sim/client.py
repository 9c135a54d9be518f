"""A client of a service: finds it at its HA address, or at one of its addresses where it is everywhere, writes without
pause, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio

from reconciler.modes import EVERYWHERE
from reconciler.sim.rules import Wanted
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
        self._disks = [disk.resource for disk in disks(service.spec)]
        self._wanted = Wanted(service)
        self._attempt = 0  # its number; what is acknowledged of an earlier one comes too late to count
        self.acknowledged = 0
        self.longest = 0.0
        self.last = 0.0  # when the last one was acknowledged, in the story's seconds

    def start(self) -> None:
        """Now, and for ever. Callbacks, not a task: half of what happens in a calm story is a client's writing."""
        self._loop = asyncio.get_running_loop()
        self.last = self._loop.time()
        self._write()

    def _write(self) -> None:
        self._attempt += 1
        server = self._server()
        if server is None:
            self._again(self._pause / 2)
            return
        attempt, left = self._attempt, len(self._disks)
        patience: asyncio.TimerHandle | None = None

        def acknowledged() -> None:
            nonlocal left
            left -= 1
            if left == 0 and attempt == self._attempt:
                if patience is not None:
                    patience.cancel()
                self._acknowledged()

        for disk in self._disks:
            self._world.disks[disk].write(server.name, acknowledged)
        if not self._disks:
            self._acknowledged()
        elif left:
            patience = self._loop.call_later(PATIENCE, self._given_up)

    def _acknowledged(self) -> None:
        self._attempt += 1
        self.acknowledged += 1
        now = self._loop.time()
        self.longest = max(self.longest, now - self.last)
        self.last = now
        self._again(self._pause)

    def _given_up(self) -> None:
        """It may be acknowledged later."""
        self._attempt += 1
        self._again(self._pause / 2)

    def _again(self, seconds: float) -> None:
        self._loop.call_later(seconds, self._write)

    def _server(self) -> Host | None:
        """Who answers at the address and serves; of a service that is everywhere, at one of its addresses. One without
        an address is asked where it is."""
        for address in self._addresses if self._service.spec.mode == EVERYWHERE else self._addresses[:1]:
            there = self._world.reach(address)
            if len(there) == 1 and not self._wanted.missing(self._world, there[0][0].name):
                return there[0][0]
        hosts = [] if self._addresses else [self._world.hosts[name] for name in self._service.spec.hosts]
        serves = [one for one in hosts if one.links["lan"] and not self._wanted.missing(self._world, one.name)]
        return serves[0] if serves else None
