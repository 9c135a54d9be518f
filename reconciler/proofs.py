"""Proofs of death: what this host finds out about owners that have no session any more.

A lost session proves nothing. An incarnation can hold nothing any more when

- the same host has a session with another boot id (nothing need be written: everyone sees it);
- its session's *last* value promised a watchdog of W seconds, the session is gone, and W plus a margin have passed
  since, on this host's own monotonic clock: for `automatic` services;
- its fence agent confirmed that its power is off;
- a human said so (`hactl confirm-dead`).

This host writes the second and fences only while its own session holds, for a service that it is entitled to, and in a
transaction that compares that the dead one still has no session; a session is begun only where no such record stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loguru import logger

from reconciler.fencing import cut_power
from reconciler.mirror import Absence, Mirror
from reconciler.ownership import View
from reconciler.publish import AUDIT_LASTS, Leases
from reconciler.records import Audit, Death, stamp
from reconciler.session import SessionKeeper
from reconciler.spec import SpecError
from reconciler.store import Store, StoreError, Txn, audit_key, death_key, session_key
from resources.machine import Machine, MachineError

LOOKS = 1.0  # seconds
MARGIN = 2.0  # seconds, and a tenth of W: two clocks are never quite as fast
AGAIN = 30.0  # seconds after a fence agent that failed


class Proofs:
    """`run` it beside the session. `promised(host)`: until when (monotonic) this host will not take over from it."""

    def __init__(
        self,
        store: Store,
        machine: Machine,
        mirror: Mirror,
        session: SessionKeeper,
        leases: Leases,
        promised: Callable[[str], float] = lambda _host: 0.0,
    ) -> None:
        self._store, self._machine, self._mirror, self._session = store, machine, mirror, session
        self._leases, self._promised = leases, promised
        self._failed: dict[tuple[str, str], tuple[float, str]] = {}  # when a fence agent failed, and why

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._machine.sleep(LOOKS)
            if not self._session.connected:
                continue
            for (host, boot_id), views in sorted(self._owners().items()):
                try:
                    await self._look(host, boot_id, views)
                except StoreError as e:
                    logger.warning("no proof of the death of {}: {}", host, e)

    def _owners(self) -> dict[tuple[str, str], list[View]]:
        """Incarnations that own a service which could come to this host, have no session, and no death is proven of."""
        found: dict[tuple[str, str], list[View]] = {}
        for view in self._views():
            owner, me = view.owner, self._machine.host
            if owner is None or owner.host in (me, *view.sessions) or me not in view.manifest.spec.hosts:
                continue
            if (owner.host, owner.boot_id) not in view.deaths:
                found.setdefault((owner.host, owner.boot_id), []).append(view)
        return found

    def _views(self) -> Iterator[View]:
        for name in self._mirror.services():
            try:
                view = self._mirror.view(name)
            except SpecError:
                continue
            if view is not None:
                yield view

    async def _look(self, host: str, boot_id: str, views: list[View]) -> None:
        absence = self._mirror.absence(host)
        if absence is None or self._machine.monotonic() < self._promised(host):
            return
        guarded = guards(absence, boot_id)
        if guarded and self._machine.monotonic() > max(absence.since, self._promised(host)) + patience(guarded):
            why = f"its session is gone for more than its watchdog's {guarded:g} s"
            if any(view.automatic for view in views):
                await self._prove(host, boot_id, "watchdog", why)
            return
        wanted = [view for view in views if view.wanted == self._machine.host or (view.automatic and not guarded)]
        if wanted:
            await self._fence(host, boot_id)

    async def _fence(self, host: str, boot_id: str) -> None:
        spec = self._mirror.host(host)
        last, _ = self._failed.get((host, boot_id), (-AGAIN, ""))
        if spec is None or spec.spec.fencing is None or self._machine.monotonic() < last + AGAIN:
            return
        logger.warning("{} owns services and has no session; cutting its power ({})", host, spec.spec.fencing.agent)
        try:
            why = await cut_power(self._machine, host, spec.spec.fencing)
        except MachineError as e:
            self._failed[host, boot_id] = (self._machine.monotonic(), str(e))
            logger.warning("{} could not be fenced: {}", host, e)
            return
        self._failed.pop((host, boot_id), None)
        await self._prove(host, boot_id, "fenced", why)

    async def _prove(self, host: str, boot_id: str, proof: str, why: str) -> None:
        """Write it, audited, unless the host has a session again."""
        machine, now = self._machine, stamp(self._machine.utc())
        death = Death.model_validate(
            {"host": host, "boot_id": boot_id, "proof": proof, "by": machine.host, "at": now, "why": why}
        )
        lease = await self._leases.get(AUDIT_LASTS)
        moment = now.translate({ord(c): None for c in ":-."})
        audit = Audit(
            at=now,
            who="hactl agent",
            whence=machine.host,
            what=f"host/{host}",
            did=f"dead: {proof}",
            after=death.model_dump(mode="json"),
            why=why,
        )
        key = death_key(host, boot_id)
        unchanged = {session_key(host): 0, key: 0, session_key(machine.host): self._session.revision}
        puts = {key: (death.line(), 0), audit_key(f"{moment}-{machine.host}-death"): (audit.line(), lease)}
        revision = await self._store.commit(Txn(unchanged, puts))
        if revision is not None:
            self._mirror.note(key, death.line(), revision)
            logger.warning("{} is dead: {}", host, why)


def guards(absence: Absence, boot_id: str) -> float:
    """W, by the last word of that incarnation's session; 0 when it said that nothing guards it, or is not known."""
    last = absence.last
    return last.watchdog if last is not None and last.boot_id == boot_id else 0.0


def patience(watchdog: float) -> float:
    """Seconds from the session's end to the proof."""
    return watchdog + MARGIN + watchdog / 10
