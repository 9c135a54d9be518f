"""The host is being shut down: what is `automatic` moves to another host first, instead of being taken over later.

Only an agent that is stopped by the shutdown of its host does so; one that is stopped or upgraded leaves all running.
The agent goes on working meanwhile: the moves are its own workers'. The host is shut down whatever becomes of them.
What could not move goes down in order and is let go of, so that another host that becomes able needs no proof of death:
the watchdog of a host that ends in order is disarmed, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loguru import logger

from reconciler import moves, restarts
from reconciler.mirror import Mirror
from reconciler.ownership import View
from reconciler.publish import AUDIT_LASTS, Publisher
from reconciler.records import as_id, stamp
from reconciler.session import SessionKeeper
from reconciler.store import Store, StoreError
from resources.machine import Machine, MachineError

LOOKS = 0.25  # seconds
ASKS = 5.0  # seconds that systemd may take to answer
DOWN = 1 / 3  # of the time that there is, for what goes down here
WHY = "its host is being shut down"


class Shutdown:
    """`leave` when the agent is told to end. `under_way`: nothing comes here any more; `lets_go`: what is automatic
    goes down now. `poke`: all services are to be looked at."""

    def __init__(
        self,
        store: Store,
        machine: Machine,
        mirror: Mirror,
        session: SessionKeeper,
        publisher: Publisher,
        poke: Callable[[], None],
    ) -> None:
        self._store, self._machine, self._mirror = store, machine, mirror
        self._session, self._publisher, self._poke = session, publisher, poke
        self.under_way = self.lets_go = False

    async def leave(self, seconds: float) -> None:
        """Returns when nothing automatic is owned here any more, after so many seconds at most; at once where the host
        goes on."""
        if not seconds or not await self._is_under_way():
            return
        logger.info("this host is being shut down; its automatic services have {:g} s to move", seconds)
        began = self._machine.monotonic()
        self.under_way = True
        self._poke()
        await self._move_until(began + seconds * (1 - DOWN))
        if any(self._owned()):
            await self._put_down_until(began + seconds)

    async def _move_until(self, ends: float) -> None:
        while self._machine.monotonic() < ends and self._session.connected:
            try:
                # What only reads goes by itself, once the replica here is gone.
                going = [view for view in self._owned() if not view.reads and await self._goes(view)]
            except StoreError as e:
                logger.warning("{}", e)
                going = list(self._owned())
            if not going:
                return
            await self._machine.sleep(LOOKS)

    async def _put_down_until(self, ends: float) -> None:
        for view in self._owned():
            logger.info("{}: has not moved; it goes down with this host", view.manifest.metadata.name)
        self.lets_go = True
        self._poke()
        while any(self._owned()) and self._machine.monotonic() < ends and self._session.connected:
            await self._machine.sleep(LOOKS)
        for view in self._owned():
            logger.warning("{}: is not down yet; it goes with this host, still its own", view.manifest.metadata.name)

    async def _is_under_way(self) -> bool:
        """systemctl(1), is-system-running: `stopping`"""
        try:
            done = await self._machine.run("systemctl", "is-system-running", timeout=ASKS)
        except MachineError as e:
            logger.info("whether this host is being shut down is not known: {}", e)
            return False
        return done.out.strip() == "stopping"

    def _owned(self) -> Iterator[View]:
        """The automatic services of this incarnation."""
        me = (self._machine.host, self._machine.boot_id)
        for view in self._mirror.views():
            if view.automatic and view.owner is not None and (view.owner.host, view.owner.boot_id) == me:
                yield view

    async def _goes(self, view: View) -> bool:
        """Is it on its way, from now on at the latest? Not where no other host is ready for it. Raises StoreError."""
        if view.wanted != self._machine.host:
            return _may_still_go(view)
        to = restarts.elsewhere(view)
        if not to:
            return False
        name, machine = view.manifest.metadata.name, self._machine
        lease = await self._publisher.leases.get(AUDIT_LASTS)
        id = f"{as_id(stamp(machine.utc()))}-{machine.host}-{name}"
        txn = moves.leave(view, machine, to, id, lease, WHY)
        if await self._store.commit(txn) is not None:
            self._publisher.happened(name, f"it moves to {to}", WHY)
        return True


def _may_still_go(view: View) -> bool:
    """Has the host that is to have it not said that it cannot take it? Not to be able to read all of it passes."""
    status = view.statuses.get(view.wanted)
    if status is None or status.target is None or status.target.revision != view.revision:
        return view.wanted in view.sessions
    return not view.target_obstacles(view.wanted) or view.merely_unreadable(view.wanted)
