"""Follows, pure: a service whose addresses are where an engine of its own leads (`mode: follows`; Patroni).

Two may say where that is to be, and the owner key tells them apart:
- the engine has gone to a host that does not own the service (it failed over): that host sets `primary` to itself, and
  the owner lets go of the addresses as in any move;
- somebody has set `primary` (`hactl set`, `hactl drain`, a shutdown) while the engine leads on the owner's host: the
  owner asks the engine to switch over, and lets go once it has.

So an address never comes to a host before the engine does. `primary` is where the engine leads, or is asked to.
"""

from __future__ import annotations

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Me, Verdict, View
from reconciler.plan import Group, Plan
from resources.kind import AnyPart, Fit


def fit(snapshot: Snapshot) -> Fit | None:
    """How the engine here fits what the service follows. None: it follows none, or that is not known."""
    found = _engine(snapshot)
    return None if found is None else found[0].kind.fit(found[0].spec, found[1])


def follow(view: View, me: Me, snapshot: Snapshot) -> str:
    """Why this host is to set `primary` to itself, as a clause, or ""."""
    engine = _engine(snapshot)
    if not view.follows or engine is None or view.wanted == me.host or not (me.fit and me.connected and me.ready):
        return ""
    begins = view.paused is None and not view.manifest.metadata.deleted and not me.leaving
    if not begins or me.host not in view.manifest.spec.hosts:
        return ""
    part, seen = engine
    says = part.kind.says(part.spec, seen)
    owner = view.owner.host if view.owner is not None else ""
    if owner == me.host:  # it is to ask the engine; of a replica nothing can be asked: it stays
        stays = view.reads and me.fit is Fit.FULLY and me.host not in view.drained
        return f"it stays with Patroni's {says} on {me.host}" if stays else ""
    theirs = _fit_at(view, part.id, owner)
    if owner in view.sessions and theirs is not None and theirs >= me.fit:
        return ""  # it is as well off there
    others = view.sessions.keys() & set(view.manifest.spec.hosts) - view.drained.keys() - {me.host}
    if me.fit is not Fit.FULLY and any(_fit_at(view, part.id, host) in (None, Fit.FULLY) for host in others):
        return ""  # that one has it, or is about to say that it is to have it
    return f"Patroni on {me.host} is the {says}"


def _fit_at(view: View, part_id: str, host: str) -> int | None:
    """As that host last said."""
    status = view.statuses.get(host)
    part = status.parts.get(part_id) if status is not None else None
    return part.fit if part is not None else None


def switch(view: View, me: Me, snapshot: Snapshot, verdict: Verdict) -> Plan:
    """What the owner does first where the engine leads here, and `primary` is another host that is able."""
    engine = _engine(snapshot)
    if not view.follows or engine is None or verdict.intent is not Intent.HOLD or verdict.hands_off:
        return Plan()
    if view.wanted == me.host or not me.connected or view.target_obstacles(view.wanted):
        return Plan()
    part, seen = engine
    step = part.kind.switch(part.spec, seen, me.host, view.wanted)
    return Plan((Group(part.stage, (step,), side_by_side=False),)) if step is not None else Plan()


def _engine(snapshot: Snapshot) -> tuple[AnyPart, object] | None:
    return next(((part, seen) for part, seen in snapshot.known() if part.kind.name == "engine"), None)
