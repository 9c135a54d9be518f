"""The guard: a watchdog that resets this host unless its agent keeps its promise about `automatic` services.

The promise is in the session's last value, `watchdog: W`: once the session is gone for W seconds, what this host held
of automatic services is down, or the host was reset. So

- it is armed before the session says W;
- it is petted only while the session's deadline holds;
- it is disarmed only after the session says 0, or once a look that began after the deadline found nothing of an
  automatic service held. Before the session goes on after that, it is armed again.

An agent that is killed leaves it armed. The one that is started next takes it up and pets it as long as its predecessor
might have, by the deadline noted under /run. Is that past, it is `overdue`: not even opened, since opening pets it.

The device is armed for half of W: Linux pets it once more when its process ends without disarming it
(drivers/watchdog/watchdog_dev.c, watchdog_release), however late that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger

from resources.machine import Machine, MachineError

NOTE = "/run/hactl/guard"
PETS = 8  # times within W
LIVES = 2  # of the device, in W: one may be given to it by the end of its process


class Guard:
    """`device` "" : this host has no watchdog. `seconds`: W, 0 while nothing guards it."""

    def __init__(self, machine: Machine, device: str, seconds: float) -> None:
        self._machine, self._device, self._wanted = machine, device, seconds
        self._lock = asyncio.Lock()
        self._until = 0.0
        self.noted = 0.0  # a predecessor's deadline; 0: it left nothing armed
        self.overdue = False  # a predecessor left it armed, and its deadline had passed
        self.seconds = 0.0
        self.trouble = ""  # why it is not armed though it should be

    @property
    def armed(self) -> bool:
        return self.seconds > 0

    async def take_up(self) -> None:
        """What a predecessor of this process left armed: petted until the deadline that it had noted."""
        noted = self._machine.read(NOTE)
        if noted is None or not self._device:
            return
        self._until = self.noted = _number(noted)
        self.overdue = self._machine.monotonic() >= self._until
        if not self.overdue:
            await self.arm()

    async def arm(self) -> float:
        """W, or 0 where there is none or it may not be used. Armed already: nothing."""
        async with self._lock:
            if self._device and not self.armed:
                await self._arm()
            return self.seconds

    async def _arm(self) -> None:
        try:
            self._machine.write(NOTE, str(self._until))
            self.seconds = LIVES * await self._machine.arm_watchdog(self._device, self._wanted / LIVES)
            self.trouble, self.overdue = "", False
            logger.info("watchdog {} armed: {:.0f} s", self._device, self.seconds)
        except MachineError as e:
            self.trouble = str(e)
            logger.warning("no watchdog guards this host: {}", e)

    async def disarm(self) -> None:
        """The caller knows that the promise is void or kept."""
        async with self._lock:
            await self._disarm()

    async def _disarm(self) -> None:
        if self.overdue:
            await self._arm()  # only who has it open can disarm it
        if not self.armed:
            return
        await self._machine.disarm_watchdog()
        self.seconds = 0.0
        self._machine.remove(NOTE)
        logger.info("watchdog {} disarmed", self._device)

    def promise(self, until: float) -> None:
        """The session's deadline (monotonic) is this by now: pet until then."""
        self._until = until
        if self.armed:
            self._machine.write(NOTE, str(until))
            self._pet()

    def _pet(self) -> None:
        if self.armed and self._machine.monotonic() < self._until:
            self._machine.pet_watchdog()

    async def run(self, kept: Callable[[float], bool]) -> None:
        """Pet it while the deadline holds; after it, disarm it once `kept(deadline)`: nothing is held. For ever."""
        while True:
            await self._machine.sleep(max(self._wanted, 1.0) / PETS)
            self._pet()
            async with self._lock:
                late = self._machine.monotonic() >= self._until
                if (self.armed or self.overdue) and late and kept(self._until):
                    await self._disarm()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
