"""Ownership, pure: may this host be active? From what etcd says of a service to a Verdict.

"Only one at a time" of DESIGN.md. The verdict never trusts a lost answer: an owner is dead only when that is proven.

- The owner key names the one incarnation that may hold the service's exclusive resources; it outlives the session.
- The epoch counts owners. This agent has it only if it claimed it, or found it in etcd *with things held* when it
  began: a key that is ours while we hold nothing may be one whose deletion is still on its way, so it is claimed anew.
- Once a release was sent, the epoch is given up, whatever became of the message.
- An `automatic` service is put down as soon as this host may not be sure any more that nobody takes it over.
- A paused service counts as `manual`, and nobody claims, releases or takes it over; its owner leaves it as it is. Who
  does not own it holds nothing of it, paused or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.modes import EVERYWHERE, FOLLOWS
from reconciler.records import Death, Epoch, Owner, Session, Status
from reconciler.spec import Drain, Pause, ServiceManifest
from resources.kind import Fit, Role
from resources.words import disks

OUT_OF_REACH = "etcd is out of reach: put down before another host takes it over"
GOING_DOWN = "this host is being shut down"


class Intent(StrEnum):
    """What this host does about the owner key."""

    NONE = "none"
    HOLD = "hold"  # it is ours: be active
    KEEP = "keep"  # it is everywhere and has no owner: be active
    CLAIM = "claim"  # become the owner, then be active
    RELEASE = "release"  # put down, then delete the key
    FORGET = "forget"  # the service is deleted and down everywhere: remove its keys


@dataclass(frozen=True)
class View:
    """What etcd says of one service, as this host last saw it. Revisions are mod revisions, 0 for no such key."""

    manifest: ServiceManifest
    revision: int
    text: str = ""  # the spec as it stands in etcd
    domain: str | None = None  # where its parts live; of a guest, another service's container
    owner: Owner | None = None
    owner_revision: int = 0
    epoch: Epoch | None = None
    epoch_revision: int = 0
    sessions: Mapping[str, Session] = field(default_factory=dict)
    deaths: Mapping[tuple[str, str], Death] = field(default_factory=dict)
    outdated: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (disk, host) whose copy lacks writes
    lacks_since: Mapping[tuple[str, str], str] = field(default_factory=dict)  # the same, since when, for people
    statuses: Mapping[str, Status] = field(default_factory=dict)
    drained: Mapping[str, Drain] = field(default_factory=dict)  # by host

    @property
    def wanted(self) -> str:
        return self.manifest.spec.wanted

    @property
    def automatic(self) -> bool:
        """Is it taken over without a human? While it is paused it is not."""
        return self.manifest.spec.automatic and self.paused is None

    @property
    def paused(self) -> Pause | None:
        return self.manifest.metadata.paused

    @property
    def paused_obstacle(self) -> str:
        """Why nothing is done about it, as a clause with the way out, or ""."""
        name = self.manifest.metadata.name
        return f"{name} is paused {self.paused}: hactl resume {name}" if self.paused else ""

    def drain_obstacle(self, host: str) -> str:
        """Why that host takes nothing, as a clause with the way out, or "". What goes back there it takes."""
        drain = None if self._goes_back_to(host) else self.drained.get(host)
        return f"{host} is drained {drain}: hactl undrain {host}" if drain else ""

    @property
    def everywhere(self) -> bool:
        """On all of its hosts at once, once an owner of before, when it was exclusive, has let go."""
        return self.manifest.spec.mode == EVERYWHERE

    @property
    def follows(self) -> bool:
        """Is it where an engine of its own leads? `reconciler.follows`."""
        return self.manifest.spec.mode == FOLLOWS

    @property
    def reads(self) -> bool:
        """Does it follow a replica, and is at the primary only while there is none?"""
        engine = getattr(self.manifest.spec, "engine", None)
        return self.follows and engine is not None and engine.role == "replica"

    @property
    def alone(self) -> bool:
        """Would a host that takes it over now do so without the last owner, and so without that one's copies?"""
        return self.owner is None or self.owner.host not in self.sessions

    def marked(self, host: str) -> list[str]:
        """The service's disks whose copies on that host lack writes, sorted."""
        names = {disk.resource for disk in disks(self.manifest.spec)}
        return sorted(disk for disk, where in self.outdated if where == host and disk in names)

    @property
    def failed_on(self) -> list[str]:
        """Hosts that it was moved away from because its checks failed there, unless somebody has changed it since."""
        if self.epoch is None:
            return []
        # The move wrote both in one transaction; whoever claimed it then noted the spec's revision.
        moved = self.revision in (self.epoch.spec_revision, self.epoch_revision)
        return self.epoch.failed_on if moved else []

    def death(self, owner: Owner) -> str:
        """The proof that the owner's incarnation holds nothing any more, as a clause, or ""."""
        session = self.sessions.get(owner.host)
        if session is not None and session.boot_id != owner.boot_id:
            return f"{owner.host} has rebooted since"
        death = self._death_of(owner.host, owner.boot_id)
        if death and (self.automatic or death.proof != "watchdog"):
            how = {"confirmed": f"confirmed by {death.by}", "fenced": "fenced", "watchdog": "its watchdog has reset it"}
            return f"{owner.host} is dead: {how.get(death.proof, death.proof)}"
        return ""

    def declared_dead(self, host: str, boot_id: str) -> bool:
        """May another be taking this service from that incarnation, which may know better?"""
        return self._death_of(host, boot_id) is not None

    def _death_of(self, host: str, boot_id: str) -> Death | None:
        death = self.deaths.get((host, boot_id))
        return death if death and death.covers(self.manifest.metadata.name) else None

    def _goes_back_to(self, host: str) -> bool:
        """Has the move from there failed? Who reverts it names that host in the epoch record, and still owns it."""
        if self.owner is None or self.epoch is None:
            return False
        return self.owner.host != host == self.epoch.host == self.wanted

    def target_obstacles(self, host: str) -> list[str]:
        """Why that host is not ready to take the service over, for this very revision of the spec."""
        status = self.statuses.get(host)
        if said := self.paused_obstacle or self.drain_obstacle(host):
            return [said]
        if host not in self.sessions:
            return [f"{host} has no session: is its agent running? (systemctl status hactl-agent)"]
        if status is None or status.target is None or status.target.revision != self.revision:
            return [f"{host} has not said yet whether it could"]
        return list(status.target.obstacles)

    def merely_unreadable(self, host: str) -> bool:
        """Could that host take the service over as far as it knows, had it not failed to read some of it just now?"""
        status = self.statuses.get(host)
        return host in self.sessions and status is not None and status.target is not None and status.target.unreadable


@dataclass(frozen=True)
class Me:
    """This incarnation, and what its worker remembers. `epoch`: the one it holds, 0 for none; `given_up`: the last one
    whose release was sent; `holds`: something exclusive of the service is seen here now; `connected`: the session's
    deadline has not passed, and etcd's news since it began are here; `guarded`: whatever the spec says by now, the
    session's last word counts the service as automatic; `safe`: nobody may take over what is automatic;
    `ready`: this host could take it over now; `fit`: how the engine that it follows fits here, None where that is not
    known or it follows none; `begun`: it has begun to put it down, by this very spec; `leaving`: this host is being
    shut down, `lets_go`: and for that what is automatic goes down now."""

    host: str
    boot_id: str
    epoch: int = 0
    given_up: int = 0
    holds: bool = False
    connected: bool = True
    guarded: bool = False
    safe: bool = True
    ready: bool = False
    fit: Fit | None = None
    begun: bool = False
    leaving: bool = False
    lets_go: bool = False


@dataclass(frozen=True)
class Verdict:
    """What this host owes the service now. `note` is the clause that explains it on the status screen; `epoch` is the
    one to act in (HOLD only); `hands_off`: the service is paused, and no step is run for it."""

    role: Role
    intent: Intent
    note: str = ""
    epoch: int = 0
    hands_off: bool = False


def decide(view: View, me: Me) -> Verdict:
    """Pure: the whole decision on one screen."""
    idle = Role.STANDBY if me.host in view.manifest.spec.hosts else Role.ABSENT
    return _everywhere(view, me, idle) if view.everywhere else _exclusive(view, me, idle)


def _exclusive(view: View, me: Me, idle: Role) -> Verdict:
    if view.declared_dead(me.host, me.boot_id):
        intent = Intent.RELEASE if _is_mine(view.owner, me) else Intent.NONE
        return Verdict(idle, intent, "this host was declared dead: another may be taking it over")
    if view.paused is not None:
        return _paused(view, me, idle)
    if view.manifest.metadata.deleted:
        return _deleted(view, me)
    if _is_mine(view.owner, me):
        return _mine(view, me, idle)
    if view.wanted != me.host and not _stands_in(view, me.host):
        return Verdict(idle, Intent.NONE)
    return Verdict(idle, Intent.NONE, GOING_DOWN) if me.leaving else _to_be_mine(view, me, idle)


def keeps(view: View, host: str) -> bool:
    """May a service that is everywhere be brought up there? Neither etcd nor a session is needed for that, nor lost
    by another's word: nobody takes it over."""
    begun = view.paused is None and not view.manifest.metadata.deleted
    return view.everywhere and begun and view.owner is None and host in view.manifest.spec.hosts


def _everywhere(view: View, me: Me, idle: Role) -> Verdict:
    """What is not of its mode, an owner of before, goes first."""
    kept = view.owner is None and me.host in view.manifest.spec.hosts
    if view.paused is not None:
        return Verdict(Role.ACTIVE, Intent.KEEP, hands_off=True) if kept else _paused(view, me, idle)
    if view.manifest.metadata.deleted:
        return _deleted(view, me)
    if view.owner is not None:
        return _owned_before(view, view.owner, me, idle)
    return Verdict(Role.ACTIVE, Intent.KEEP) if kept else Verdict(idle, Intent.NONE)


def _owned_before(view: View, owner: Owner, me: Me, idle: Role) -> Verdict:
    """When it was exclusive: who owns it lets go of it, or is proven dead."""
    why = "its owner lets go first" if _is_mine(owner, me) else view.death(owner)
    if why:
        return Verdict(idle, Intent.RELEASE, f"it is to be on all of its hosts: {why}")
    return Verdict(idle, Intent.NONE, _why_waiting(view, owner))


def takeover(view: View, me: Me) -> str:
    """Why this host is to set `primary` to itself, as a clause, or "". The first ready host in the spec's order does.

    Nobody is asked where a human decides (`manual`), nor while the host that is to have it lives: a slow one is no
    dead one.
    """
    hosts = view.manifest.spec.hosts
    if view.follows or me.leaving:
        return ""  # its engine decides; nothing is begun on a host that goes down
    if not (view.automatic and me.connected and me.ready) or view.manifest.metadata.deleted or me.host not in hosts:
        return ""
    if view.wanted in view.sessions or view.wanted == me.host:
        return ""
    proof = view.death(view.owner) if view.owner is not None else f"nobody owns it and {view.wanted} is away"
    before_me = hosts[: hosts.index(me.host)]
    return "" if any(not view.target_obstacles(host) for host in before_me) else proof


def _stands_in(view: View, host: str) -> bool:
    """The wanted host's copies lack writes and this one's do not: it has the service until they are current, since
    only an owner can find that they are. Without it nobody would ever have the service again."""
    return host in view.manifest.spec.hosts and bool(view.marked(view.wanted)) and not view.marked(host)


def _is_mine(owner: Owner | None, me: Me) -> bool:
    return owner is not None and (owner.host, owner.boot_id) == (me.host, me.boot_id)


def _leads(view: View, me: Me) -> bool:
    """Where it follows an engine: does that lead here, or no other?"""
    return not view.follows or bool(me.fit)


def _to_be_mine(view: View, me: Me, idle: Role) -> Verdict:
    """This host is to have it; the owner key names nobody, or another incarnation."""
    if not _leads(view, me):
        return Verdict(idle, Intent.NONE, f"waits until its engine leads on {me.host}")
    if view.owner is None:
        return Verdict(Role.ACTIVE, Intent.CLAIM, "nobody owns it")
    if proof := view.death(view.owner):
        return Verdict(Role.ACTIVE, Intent.CLAIM, proof)
    return Verdict(idle, Intent.NONE, _why_waiting(view, view.owner))


def _paused(view: View, me: Me, idle: Role) -> Verdict:
    """Nobody begins anything. What its session's last word promised is kept even so: it may be from before the pause,
    and whoever proves a death by it could take the service over once it is resumed."""
    owner = view.owner
    if owner is None:
        return Verdict(idle, Intent.NONE, "nobody owns it, and nobody starts it", hands_off=True)
    if _is_mine(owner, me):
        if me.guarded and not me.safe:
            return Verdict(idle, Intent.NONE, OUT_OF_REACH)
        if _is_held(owner, me):
            return Verdict(Role.ACTIVE, Intent.HOLD, epoch=owner.epoch, hands_off=True)
        return Verdict(idle, Intent.NONE, "it does not run here, and is not started", hands_off=True)
    proof = view.death(owner)
    note = f"{proof}, and nobody starts it" if proof and view.wanted == me.host else ""
    return Verdict(idle, Intent.NONE, note, hands_off=True)


def _is_held(owner: Owner, me: Me) -> bool:
    """Does this agent hold the epoch of the key that names its incarnation?"""
    return owner.epoch > me.given_up and (me.epoch == owner.epoch or me.holds)


def _mine(view: View, me: Me, idle: Role) -> Verdict:
    """The owner key names this incarnation."""
    assert view.owner is not None
    epoch = view.owner.epoch
    if (view.automatic or me.guarded) and not me.safe:
        return Verdict(idle, Intent.NONE, OUT_OF_REACH)
    if me.lets_go and view.automatic:
        return Verdict(idle, Intent.RELEASE, GOING_DOWN, epoch)
    if not _is_held(view.owner, me):
        if view.wanted == me.host and _leads(view, me):
            return Verdict(Role.ACTIVE, Intent.CLAIM, "its own key, of an epoch that it no longer holds")
        elsewhere = view.wanted != me.host
        why = f"moving to {view.wanted}" if elsewhere else f"its engine does not lead on {me.host}"
        return Verdict(Role.STANDBY, Intent.RELEASE, why)
    waits = _why_not_yet(view, me) if view.wanted != me.host else ""
    if waits or view.wanted == me.host:
        return Verdict(Role.ACTIVE, Intent.HOLD, waits, epoch)
    return Verdict(idle, Intent.RELEASE, f"moving to {view.wanted}", epoch)


def _why_not_yet(view: View, me: Me) -> str:
    """Why the owner does not let go of it yet, though another host is to have it."""
    if not me.connected:
        return f"the move to {view.wanted} waits for etcd"
    obstacles = view.target_obstacles(view.wanted)
    if me.begun and view.merely_unreadable(view.wanted):
        obstacles = []  # what is half down is not brought up again for that: the deadline is the way back
    if view.follows and me.fit is Fit.NOT and view.wanted in view.sessions and not view.drain_obstacle(view.wanted):
        obstacles = []  # its addresses serve nobody here; the other takes them once its engine leads there
    if view.follows and me.fit is Fit.FULLY and not obstacles and not (view.reads and me.host in view.drained):
        goes = f"stays at the replica on {me.host} while that is healthy"
        return goes if view.reads else f"goes to {view.wanted} once its engine leads there"
    return f"cannot move to {view.wanted}: {obstacles[0]}" if obstacles else ""


def _deleted(view: View, me: Me) -> Verdict:
    """Put down everywhere; the owner (or, where there is none, the first host alive) forgets it last."""
    others = [host for host in view.manifest.spec.hosts if host != me.host and host in view.sessions]
    busy = [host for host in others if not _is_gone(view.statuses.get(host), view.revision)]
    if view.everywhere:
        busy = _may_keep(view, me.host)
    mine = _is_mine(view.owner, me)
    first = min([*others, me.host]) == me.host
    dead = view.owner is None or bool(view.death(view.owner))
    if (mine or (dead and first)) and not busy:
        return Verdict(Role.ABSENT, Intent.FORGET, "being deleted")
    return Verdict(Role.ABSENT, Intent.NONE, f"being deleted; waits for {', '.join(busy)}" if busy else "being deleted")


def _may_keep(view: View, me: str) -> list[str]:
    """Other hosts that may run it, everywhere as it is: without a session too, until they have said that it is gone;
    one that has left `hosts` while it was away may not know."""
    left = [host for host, said in view.statuses.items() if said.role is not Role.ABSENT or said.state != "Standby"]
    hosts = {*view.manifest.spec.hosts, *left} - {me}
    return sorted(host for host in hosts if not _is_gone(view.statuses.get(host), view.revision))


def _is_gone(status: Status | None, revision: int) -> bool:
    """Did that host say, having seen the deletion, that nothing of the service is left there?"""
    if status is None or status.revision != revision:
        return False
    return status.role is Role.ABSENT and status.state == "Standby"


def _why_waiting(view: View, owner: Owner) -> str:
    if owner.host in view.sessions:
        return f"waits for {owner.host} to put it down"
    return (
        f"{owner.host} owns it and does not answer; nothing proves that it is down. "
        f"If you know that it is: hactl confirm-dead {owner.host}"
    )
