"""The guard: a watchdog that resets this host unless its agent keeps its promise about `automatic` services.

The promise is in the session's last value, `watchdog: W`: once the session is gone for W seconds, what this host held
of automatic services is down, or the host was reset. So

- it is armed before the session says W;
- it is petted only while the session's deadline holds;
- it is disarmed only after the session says 0, or once a look that began after the deadline found nothing of an
  automatic service held. Before the session goes on after that, it is armed again.

An agent that is killed leaves it armed. The one that is started next takes it up and pets it as long as its predecessor
might have, by the deadline noted under /run.
"""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from resources.machine import Machine, MachineError

NOTE = "/run/hactl/guard"
PETS = 4  # times within W


class Guard:
    """`device` "" : this host has no watchdog. `seconds`: W, 0 while nothing guards it."""

    def __init__(self, machine: Machine, device: str, seconds: float) -> None:
        self._machine, self._device, self._wanted = machine, device, seconds
        self._until = 0.0
        self.noted = 0.0  # a predecessor's deadline
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
        await self.arm()

    async def arm(self) -> float:
        """W, or 0 where there is none or it may not be used. Armed already: nothing."""
        if not self._device or self.armed:
            return self.seconds
        try:
            self._machine.write(NOTE, str(self._until))
            self.seconds = await self._machine.arm_watchdog(self._device, self._wanted)
            self.trouble = ""
            logger.info("watchdog {} armed: {:.0f} s", self._device, self.seconds)
        except MachineError as e:
            self.trouble = str(e)
            logger.warning("no watchdog guards this host: {}", e)
        return self.seconds

    async def disarm(self) -> None:
        """The caller knows that the promise is void or kept."""
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
            self._machine.pet_watchdog()

    async def run(self, kept: Callable[[float], bool]) -> None:
        """Pet it while the deadline holds; after it, disarm it once `kept(deadline)`: nothing is held. For ever."""
        while True:
            await self._machine.sleep(max(self._wanted, 1.0) / PETS)
            if not self.armed:
                continue
            if self._machine.monotonic() < self._until:
                self._machine.pet_watchdog()
            elif kept(self._until):
                await self.disarm()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
