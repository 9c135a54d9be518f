"""Health, pure: what a service is like as a whole, from the owner key and what each host last said of it.

No host knows this alone: while a service moves it has no owner, and an owner that is away says nothing of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.cli import everywhere
from reconciler.drift import DISKS, is_disk, role_of
from reconciler.ownership import View
from reconciler.pause import words
from reconciler.records import Owner, Status, Witness
from reconciler.spec import Pause
from reconciler.status import host_of
from resources.kind import Role

IS_AGENT_RUNNING = everywhere.IS_AGENT_RUNNING
TROUBLES = ("Drift", "Stalled", "Unknown", "Invalid")


@dataclass(frozen=True)
class Health:
    """`primary`: the host that the spec wants; `owner`: the one that has it; `since`: when `state` began; each may be
    "". `obstacles`: for each host that could be moved to, why it cannot be now. Empty: it can."""

    primary: str
    owner: str
    epoch: int
    state: str
    reason: str = ""
    since: str = ""
    obstacles: Mapping[str, list[str]] = field(default_factory=dict)
    silent: bool = False  # its owner is, and nothing proves it down
    paused: Pause | None = None
    on: tuple[str, ...] = ()  # all of its hosts, where it is everywhere: it has neither primary nor owner then

    @property
    def able(self) -> list[str]:
        """Hosts that could take it over now."""
        return [host for host, why in self.obstacles.items() if not why]


def health(view: View) -> Health:
    """The whole of it."""
    if view.everywhere:
        return _everywhere(view)
    owner = view.owner
    state, reason, since = _with_owner(view, owner) if owner else _without_owner(view)
    if view.manifest.metadata.deleted is not None:
        state, reason = "Stopping", _deleting(view)
    if view.paused is not None:
        state, reason, since = "Paused", _paused(view, view.paused, reason), view.paused.at
    return Health(
        primary=view.wanted,
        owner=owner.host if owner else "",
        epoch=owner.epoch if owner else view.epoch.epoch if view.epoch else 0,
        state=state,
        reason="; ".join(_told(view, reason)),
        since=since,
        obstacles={
            host: view.target_obstacles(host)
            for host in view.manifest.spec.hosts
            if owner is None or host != owner.host
        },
        silent=owner is not None and not is_alive(view, owner) and not view.death(owner),
        paused=view.paused,
    )


def _everywhere(view: View) -> Health:
    owner = view.owner.host if view.owner else ""
    state, reason, since = everywhere.state(view)
    if view.manifest.metadata.deleted is not None:
        state, reason = "Stopping", _deleting(view)
    if view.paused is not None:
        state, reason, since = "Paused", _paused(view, view.paused, reason), view.paused.at
    gone, epoch = "; ".join([*([reason] if reason else []), *_left(view)]), view.owner.epoch if view.owner else 0
    return Health("", owner, epoch, state, gone, since, paused=view.paused, on=view.manifest.spec.hosts)


def _left(view: View) -> list[str]:
    """Trouble on hosts that are no longer its own."""
    return [
        f"{host}: {status.reason or status.state}"
        for host, status in sorted(view.statuses.items())
        if host not in view.manifest.spec.hosts and host in view.sessions and status.state in TROUBLES
    ]


def _told(view: View, reason: str) -> list[str]:
    """The owner's reason, other hosts' trouble. Of a half-switched service both sides make one clause, and what each of
    them says of a disk's role is in it."""
    halves = _half_switched(view)
    said = [reason] if reason and not (halves and reason.startswith("disk ")) else []
    return [*([halves] if halves else []), *said, *_elsewhere(view, besides="disk " if halves else ""), *_apart(view)]


def _half_switched(view: View) -> str:
    """`half-switched: nfs-home is Primary on hosta, nfs-state is Primary on hostb; all are to be Primary on hosta`, or
    "". While a plan explains it, no host calls it drift."""
    there = {host: status for host, status in sorted(view.statuses.items()) if host in view.sessions}
    if not any(DISKS in status.drifts for status in there.values()):
        return ""
    disks = sorted({id for status in there.values() for id in status.parts if is_disk(id)})
    where = [(id.removeprefix("disk/"), _where(view, there, id)) for id in disks]
    if all(place == f"is Primary on {host_of(view)}" for _, place in where):
        return ""  # just put right
    told = ", ".join(f"{disk} {place}" for disk, place in where)
    return f"half-switched: {told}; all are to be Primary on {host_of(view)}"


def _where(view: View, there: Mapping[str, Status], id: str) -> str:
    """`is Primary on hosta`; `is Primary nowhere` only where every host has said so."""
    roles = {host: role_of(status.parts[id].says) for host, status in there.items() if id in status.parts}
    if primary := [host for host, role in roles.items() if role == "Primary"]:
        return f"is Primary on {' and '.join(primary)}"
    known = [host for host, role in roles.items() if role != "unknown"]
    if set(view.manifest.spec.hosts) <= set(known):
        return "is Primary nowhere"
    return f"is not Primary on {' or '.join(known)}" if known else "cannot be read"


def is_alive(view: View, owner: Owner) -> bool:
    """Does the owner's very incarnation have a session?"""
    session = view.sessions.get(owner.host)
    return session is not None and session.boot_id == owner.boot_id


def _with_owner(view: View, owner: Owner) -> tuple[str, str, str]:
    """(state, reason, since)"""
    if not is_alive(view, owner):
        return _owner_away(view, owner)
    status = view.statuses.get(owner.host)
    if status is None or (status.epoch != owner.epoch and status.state != "Moving"):
        return "Starting", f"{owner.host} has just become its owner", owner.since
    return status.state, _reason(view, owner, status), status.since


def _reason(view: View, owner: Owner, status: Status) -> str:
    if status.progress is not None:
        to = f"to {view.wanted}: " if owner.host != view.wanted else ""
        return f"{to}{status.progress.done}/{status.progress.of} {status.progress.now}"
    if owner.host != view.wanted and status.revision != view.revision:
        blocked = view.target_obstacles(view.wanted)
        return f"cannot move to {view.wanted}: {blocked[0]}" if blocked else f"about to move to {view.wanted}"
    return status.reason


def _owner_away(view: View, owner: Owner) -> tuple[str, str, str]:
    proof = view.death(owner)
    if not proof:
        return "Unknown", _silent(view, owner), ""
    if view.wanted in view.sessions:
        return "Starting", f"{proof}; {view.wanted} takes it", ""
    return "Waiting", f"{proof}; {view.wanted} is to have it and has no session: {IS_AGENT_RUNNING}", ""


def witness(view: View) -> Witness | None:
    """What is known of an owner that is away, by one that could take over from it: best by one that waits for a proof,
    or else by the host that is to have the service."""
    owner = view.owner
    found = [
        (not seen.witness.promised, not seen.witness.proof, host != view.wanted, host, seen.witness)
        for host, seen in view.statuses.items()
        if owner is not None and host in view.sessions and seen.witness is not None and seen.witness.host == owner.host
    ]
    return min(found, key=lambda one: one[:4])[-1] if found else None


def proof_pending(view: View) -> str:
    """What is about to prove the owner down, or ""."""
    seen = witness(view)
    return seen.proof if seen is not None else ""


def _silent(view: View, owner: Owner) -> str:
    """What is known of it, which proof is missing, and what a human can do."""
    host, seen = owner.host, witness(view)
    if seen is not None and seen.promised:
        return f"{host} runs on without etcd, and was promised that nobody takes over from it (hactl status on {host})"
    said = [f"no word from {host}, where it may well still run"]
    if seen is not None and seen.gone:
        said.append(f"Its session is gone since {seen.gone[11:]}")
    if seen is not None and seen.proof:
        said.append(f"What will prove it down: {seen.proof}")
    elif seen is not None and seen.lacks:
        said.append(f"Nothing proves it down: {seen.lacks}")
    asks = "Is its agent running (systemctl status hactl-agent)?"
    return f"{'. '.join(said)}. {asks} If you know that the host is down: hactl confirm-dead {host}"


def _without_owner(view: View) -> tuple[str, str, str]:
    if view.wanted not in view.sessions:
        return "Waiting", f"{view.wanted} is to have it and has no session: {IS_AGENT_RUNNING}", ""
    status = view.statuses.get(view.wanted)
    reason = status.reason if status and status.revision == view.revision else ""
    if status and reason and status.state in ("Waiting", *TROUBLES):
        return status.state, reason, status.since
    if view.epoch is not None and view.epoch.host != view.wanted:
        return "Moving", f"to {view.wanted}: {view.epoch.host} has put it down", ""
    return "Starting", reason or f"{view.wanted} is about to own it", ""


def _paused(view: View, pause: Pause, reason: str) -> str:
    """Who said so, and how it is: by its owner, else by the host that is to have it, else by what is known of them."""
    for host in (view.owner.host if view.owner else "", view.wanted):
        seen = view.statuses.get(host)
        if host in view.sessions and seen is not None and seen.state == "Paused" and seen.revision == view.revision:
            return seen.reason
    return words(pause, view.manifest.metadata.name, [reason])


def _deleting(view: View) -> str:
    """What the deletion waits for."""
    left = [
        f"{host}: {status.reason or 'putting it down'}"
        for host, status in sorted(view.statuses.items())
        if host in view.sessions and not (status.role is Role.ABSENT and status.state == "Standby")
    ]
    silent = [host for host in view.manifest.spec.hosts if host not in view.sessions]
    waits = [f"{host} has no session: {IS_AGENT_RUNNING}" for host in silent]
    return f"being deleted; {'; '.join([*left, *waits])}" if left or waits else "being deleted"


def _apart(view: View) -> list[str]:
    """Disks whose sides have given each other up, each side in its own words. What to discard, a human decides."""
    said: dict[str, list[str]] = {}
    for host, status in sorted(view.statuses.items()):
        for part, seen in sorted(status.parts.items()):
            if part.startswith("disk/") and host in view.sessions:
                said.setdefault(part.removeprefix("disk/"), []).append(f"{host} says {seen.says}")
    return [
        f"the sides of disk {disk} stay apart ({'; '.join(sides)}): hactl help split-brain"
        for disk, sides in said.items()
        if any("StandAlone" in side for side in sides)
    ]


def _elsewhere(view: View, *, besides: str) -> list[str]:
    """Trouble on hosts that are not the owner; `besides`: how it begins where it is told already."""
    owner = view.owner.host if view.owner else view.wanted
    return [
        f"{host}: {status.reason or status.state}"
        for host, status in sorted(view.statuses.items())
        if host != owner and host in view.sessions and status.state in TROUBLES
        if not (besides and status.reason.startswith(besides))
    ]
