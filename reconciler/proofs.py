"""Proofs of death: what this host finds out about owners that have no session any more.

A lost session proves nothing. An incarnation can hold nothing any more when

- the same host has a session with another boot id (nothing need be written: everyone sees it);
- its session's *last* value promised a watchdog of W seconds, the session is gone, and W plus a margin have passed
  since, on this host's own monotonic clock: for the `automatic` services that it names. What is left of that value when
  the session is gone is its word; each session begins with another, and the transaction compares the one judged by;
- its fence agent confirmed that its power is off;
- a human said so (`hactl confirm-dead`).

This host writes the second and fences only while its own session holds, for a service that it is entitled to, and in a
transaction that compares that the dead one still has no session; a session is begun only where no such record stands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from loguru import logger

from reconciler.failsafe import Promises
from reconciler.fencing import cut_power
from reconciler.mirror import Absence, Mirror
from reconciler.ownership import View
from reconciler.publish import AUDIT_LASTS, Leases
from reconciler.records import Audit, Death, Owner, Witness, as_id, stamp
from reconciler.session import SessionKeeper
from reconciler.store import Store, StoreError, Txn, audit_key, death_key, session_key, word_key
from resources.machine import Machine, MachineError

LOOKS = 1.0  # seconds
SOON = 0.01  # seconds after a moment, to be surely past it
HASTE = 5.0  # seconds without its session, and with this host's own, before a host's power is cut: it may be back
MARGIN = 2.0  # seconds, and a tenth of W: two clocks are never quite as fast
AGAIN = 30.0  # seconds after a fence agent that failed


class Proofs:
    """`run` it beside the session; `witness` says how things stand."""

    def __init__(
        self,
        store: Store,
        machine: Machine,
        mirror: Mirror,
        session: SessionKeeper,
        leases: Leases,
        promises: Promises,
        changed: Callable[[str], None] = lambda _service: None,
    ) -> None:
        self._store, self._machine, self._mirror, self._session = store, machine, mirror, session
        self._leases, self._promises, self._changed = leases, promises, changed
        self._told: dict[str, Witness | None] = {}
        self._gone: dict[tuple[str, float], str] = {}  # (host, monotonic) -> the same on the wall clock, once
        self._since = machine.monotonic()  # since when this host has had a session
        self._next = LOOKS
        self._failed: dict[tuple[str, str], tuple[float, str]] = {}  # when a fence agent failed, and why

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._machine.sleep(self._next)
            self._next = LOOKS
            if not self._session.connected:
                self._since = self._machine.monotonic()
                continue
            for (host, boot_id), views in sorted(self._owners().items()):
                try:
                    await self._look(host, boot_id, views)
                except StoreError as e:
                    logger.warning("no proof of the death of {}: {}", host, e)
                self._tell(views)

    def _tell(self, views: list[View]) -> None:
        """Have a service looked at, and so its status said, when its witness says something else."""
        for view in views:
            name, witness = view.manifest.metadata.name, self.witness(view)
            if witness != self._told.get(name):
                self._told[name] = witness
                self._changed(name)

    def _owners(self) -> dict[tuple[str, str], list[View]]:
        """Incarnations that own a service which could come to this host, have no session, and are not proven dead. For
        one that is paused nothing is begun."""
        found: dict[tuple[str, str], list[View]] = {}
        for view in self._mirror.views():
            owner, me = view.owner, self._machine.host
            if owner is None or owner.host in (me, *view.sessions) or me not in view.manifest.spec.hosts:
                continue
            if view.paused is None and not view.death(owner):
                found.setdefault((owner.host, owner.boot_id), []).append(view)
        return found

    async def _look(self, host: str, boot_id: str, views: list[View]) -> None:
        absence = self._mirror.absence(host)
        if absence is None or self._promises.holds_back(host):
            return
        covered = [view for view in views if self._guards(absence, view)]
        if covered:
            guarded = self._guards(absence, covered[0])
            left = self._proven_at(host, absence, guarded) - self._machine.monotonic()
            if left > 0:
                self._next = min(self._next, left + SOON)  # a takeover waits for it
            else:
                why = f"its session is gone for more than its watchdog's {guarded:g} s"
                await self._prove(host, boot_id, "watchdog", why, absence)
        if any(self._wants_fencing(view, self._guards(absence, view)) for view in views):
            await self._fence(host, boot_id, absence)

    def _guards(self, absence: Absence, view: View) -> float:
        return guards(absence, view, self._machine.host)

    def _wants_fencing(self, view: View, guarded: float) -> bool:
        if view.automatic:
            return not guarded
        return view.wanted == self._machine.host

    def _proven_at(self, host: str, absence: Absence, watchdog: float) -> float:
        """From when on (monotonic) the watchdog of that host has surely reset it."""
        promised = self._promises.promised(host)
        if absence.last is not None and absence.last.promisers:
            promised = self._promises.may_have_promised(host, absence.last.lease)
        return max(absence.since, promised) + patience(watchdog)

    def witness(self, view: View) -> Witness | None:
        """What this host knows of an owner that it could take the service over from; None while there is no need."""
        owner, me = view.owner, self._machine.host
        if owner is None or owner.host == me or me not in view.manifest.spec.hosts or view.death(owner):
            return None
        absence = self._mirror.absence(owner.host)
        if absence is None:
            return None
        gone = self._wall(owner.host, absence.since) if absence.last is not None else ""
        if view.paused is not None:
            return Witness(host=owner.host, gone=gone, lacks="it is paused, so none is looked for")
        if self._promises.holds_back(owner.host):
            return Witness(host=owner.host, gone=gone, promised=True, lacks=f"{owner.host} lives, without etcd")
        guarded = self._guards(absence, view)
        if guarded:
            at = self._wall(owner.host, self._proven_at(owner.host, absence, guarded))
            return Witness(host=owner.host, gone=gone, proof=f"its watchdog of {guarded:g} s, at {at}")
        proof, lacks = self._fencing_says(view, owner, guarded)
        return Witness(host=owner.host, gone=gone, proof=proof, lacks=lacks)

    def _fencing_says(self, view: View, owner: Owner, guarded: float) -> tuple[str, str]:
        """(what is about to prove it down, why nothing is)"""
        host, spec = owner.host, self._mirror.host(owner.host)
        if spec is None or spec.spec.fencing is None:
            only = f", and its watchdog of {guarded:g} s is for automatic services" if guarded else ""
            return "", f"no fence device is configured for {host} (fencing in its Host spec){only}"
        agent = spec.spec.fencing.agent
        if failed := self._failed.get((host, owner.boot_id)):
            return "", f"{host} could not be fenced, it is tried again: {failed[1]}"
        if not self._wants_fencing(view, guarded):
            return "", f"{agent} is asked once this host is to have it"
        return f"{agent}, which is being asked", ""

    def _wall(self, host: str, moment: float) -> str:
        """A monotonic time for people, always in the same words."""
        if (host, moment) not in self._gone:
            ago = timedelta(seconds=self._machine.monotonic() - moment)
            self._gone[host, moment] = stamp(self._machine.utc() - ago)[:19] + "Z"
        return self._gone[host, moment]

    async def _fence(self, host: str, boot_id: str, absence: Absence) -> None:
        spec = self._mirror.host(host)
        last, _ = self._failed.get((host, boot_id), (-AGAIN, ""))
        if spec is None or spec.spec.fencing is None or self._machine.monotonic() < last + AGAIN:
            return
        if self._machine.monotonic() < max(absence.since, self._since) + HASTE or not await self._alone(host):
            return
        if not self._promises.begin(host, boot_id):
            return
        logger.warning("{} owns services and has no session; cutting its power ({})", host, spec.spec.fencing.agent)
        try:
            why = await cut_power(self._machine, host, spec.spec.fencing)
        except MachineError as e:
            self._failed[host, boot_id] = (self._machine.monotonic(), str(e))
            logger.warning("{} could not be fenced: {}", host, e)
            return
        self._failed.pop((host, boot_id), None)
        await self._prove(host, boot_id, "fenced", why, absence)

    async def _alone(self, host: str) -> bool:
        """Asked anew, does etcd know a session of this host and none of the other? Raises StoreError."""
        other = await self._store.get(session_key(host))
        mine = await self._store.get(session_key(self._machine.host))
        return (
            other is None and mine is not None and mine.revision == self._session.revision and self._session.connected
        )

    async def _prove(self, host: str, boot_id: str, proof: str, why: str, absence: Absence) -> None:
        """Write it, audited, unless the host has a session again."""
        if not self._promises.begin(host, boot_id):
            return
        machine, now = self._machine, stamp(self._machine.utc())
        covers = absence.last.guards if proof == "watchdog" and absence.last is not None else ()
        said = {"host": host, "boot_id": boot_id, "proof": proof, "by": machine.host, "at": now, "why": why}
        death = Death.model_validate({**said, "guards": covers})
        lease = await self._leases.get(AUDIT_LASTS)
        moment = as_id(now)
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
        unchanged = {
            session_key(host): 0,
            key: self._mirror.revision_of(key),  # one by a watchdog may stand: it is not for all services
            session_key(machine.host): self._session.revision,
        }
        if proof == "watchdog":
            unchanged[word_key(host)] = absence.word
        puts = {key: (death.line(), 0), audit_key(f"{moment}-{machine.host}-death"): (audit.line(), lease)}
        revision = await self._store.commit(Txn(unchanged, puts))
        if revision is None:
            self._promises.end(host, boot_id)
        else:
            self._mirror.note(key, death.line(), revision)
            logger.warning("{} is dead: {}", host, why)


def guards(absence: Absence, view: View, prover: str) -> float:
    """W, by the last word of its owner's session; 0 when it said that nothing guards the service, or is not known, or
    when it is not for this host to prove it: it may live on the promises of others."""
    last = absence.last
    if view.owner is None or last is None or last.boot_id != view.owner.boot_id:
        return 0.0
    if not view.automatic or view.manifest.metadata.name not in last.guards:
        return 0.0
    return last.watchdog if not last.promisers or prover in last.promisers else 0.0


def patience(watchdog: float) -> float:
    """Seconds from the session's end to the proof."""
    return watchdog + MARGIN + watchdog / 10
