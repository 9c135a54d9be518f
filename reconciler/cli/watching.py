"""Watching a service until something has come about, its steps shown live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from reconciler.cli import everywhere, screen
from reconciler.cli.errors import Code, Refused
from reconciler.cli.health import Health, health, is_alive, proof_pending
from reconciler.cli.scene import Scene, follow
from reconciler.ownership import View
from reconciler.records import Audit, Event, Status, parse
from reconciler.spec import SpecError
from reconciler.store import ROOT, Change, Store, service_key
from resources.kind import Fit

GRACE = 10.0  # seconds that something may stand in the way before we stop waiting for it
MORE = 60.0  # seconds beyond a service's deadline: it is looked at, moved, and perhaps given back
TEXT_WIDTH = 44


class Live:
    """Shows what changes tell of one service; on a terminal also what is being done right now."""

    def __init__(self, name: str, *, shown: bool = True) -> None:
        self._name, self._shown = name, shown
        self._terminal = screen.is_terminal()
        self._failures: set[str] = set()  # that were told: the same one of every retry is not told again
        self.last_audit: Audit | None = None

    def tell(self, changes: Iterable[Change]) -> None:
        """In the order in which it happened."""
        for change in changes:
            if change.entry is None:
                continue
            section, _, rest = change.key.removeprefix(ROOT).partition("/")
            if section == "audit":
                audit = parse(Audit, change.entry.value)
                if audit is not None and audit.what == f"service/{self._name}":
                    self.last_audit = audit
            elif rest.startswith(f"{self._name}/") and section == "events":
                self._event(parse(Event, change.entry.value))
            elif rest.startswith(f"{self._name}/") and section == "status":
                self._progress(rest.rpartition("/")[2], parse(Status, change.entry.value))

    def _event(self, event: Event | None) -> None:
        if event is None or not self._shown or event.kind == "state":
            return
        why = f": {event.reason}" if event.reason and event.kind != "step" else ""
        seconds = f"{event.seconds:5.1f}s" if event.seconds is not None else ""
        said = f"  {event.host}  {event.text + why:{TEXT_WIDTH}}"
        if event.kind == "failed":
            if said in self._failures:
                return
            self._failures.add(said)
        self.clear()
        print(f"{said} {seconds}".rstrip(), flush=True)

    def _progress(self, host: str, status: Status | None) -> None:
        if self._shown and self._terminal and status is not None and status.progress is not None:
            progress = status.progress
            print(f"\r\x1b[K  {host}  {progress.done}/{progress.of} {progress.now} …", end="", flush=True)

    def clear(self) -> None:
        """Take the line of what is being done away."""
        if self._shown and self._terminal:
            print("\r\x1b[K", end="", flush=True)


@dataclass(frozen=True)
class Until:
    """`done`: the sentence when it has come about, or ""; raises Refused when it never will. `stuck`: what stands in
    the way, or ""."""

    done: Callable[[Scene, Live], str]
    stuck: Callable[[Scene], str]
    state: Callable[[Scene], str]


async def watch(
    store: Store, scene: Scene, name: str, until: Until, timeout: float, *, live: bool, patient: bool = False
) -> str:
    """The sentence. Raises Refused with NOT_YET after `timeout` seconds, or earlier where something stands in the way
    for GRACE seconds; `patient`: not for that."""
    shown = Live(name, shown=live)
    clock = asyncio.get_running_loop().time
    began, stuck_since = clock(), None
    if said := until.done(scene, shown):
        return said
    async with aclosing(follow(store, scene)) as told:
        async for changes in told:
            shown.tell(changes)
            said = until.done(scene, shown)
            why = until.stuck(scene)
            stuck_since = (stuck_since if stuck_since is not None else clock()) if why else None
            if said:
                shown.clear()
                return f"{said} It took {clock() - began:.1f}s."
            if stuck_since is not None and clock() - stuck_since > GRACE and not patient:
                raise Refused(Code.NOT_YET, why)
            if clock() - began > timeout:
                shown.clear()
                raise Refused(Code.NOT_YET, f"waited {timeout:g} s in vain: {until.state(scene)}")
    raise AssertionError("unreachable")


# -- until it is Ready -------------------------------------------------------------------------------------------------


async def until_ready(
    store: Store,
    scene: Scene,
    name: str,
    timeout: float | None = None,
    *,
    live: bool = True,
    revision: int = 0,
    primary: str = "",
    patient: bool = False,
) -> str:
    """Until the service is Ready on `primary` (by default, whatever its spec wants) by a spec of at least `revision`.

    Returns the sentence that says so, printed where it is `live`. Raises Refused, StoreError.
    """
    view = scene.view(name)
    patience = timeout if timeout is not None else view.manifest.spec.deadline + MORE
    until = Until(
        done=lambda scene, live: _is_ready(scene, name, revision, primary, live.last_audit),
        stuck=lambda scene: _in_the_way(scene, name, revision),
        state=lambda scene: _state(scene, name),
    )
    said = await watch(store, scene, name, until, patience, live=live, patient=patient)
    if live:
        print(said, flush=True)
    return said


def _view(scene: Scene, name: str) -> View:
    """Raises Refused, also when it can never become Ready."""
    if scene.entry(service_key(name)) is None:
        raise Refused(Code.NOT_YET, f"{name} was deleted meanwhile")
    try:
        view = scene.view(name)
    except SpecError as e:
        raise Refused(Code.NOT_YET, f"the spec of {name} in etcd is not valid, so nothing is done: {e}") from e
    if view.manifest.metadata.deleted is not None:
        raise Refused(Code.NOT_YET, f"{name} is being deleted, by {view.manifest.metadata.deleted.by}")
    if view.paused is not None:
        raise Refused(Code.NOT_YET, f"nothing is done for {name}: {view.paused_obstacle}")
    return view


def _is_ready(scene: Scene, name: str, revision: int, primary: str, last: Audit | None) -> str:
    view = _view(scene, name)
    if view.revision < revision:
        return ""
    if primary and view.wanted != primary:
        raise Refused(Code.NOT_YET, f"{name} goes to {view.wanted} instead{_because(last)}")
    if view.everywhere:
        ready = everywhere.is_ready(view)
        return f"{name} is {ready}." if ready else ""
    now, status = health(view), view.statuses.get(view.wanted)
    current = status is not None and status.revision == view.revision
    if now.state == "Ready" and now.owner == view.wanted and current:
        return f"{name} is Ready on {now.owner} (epoch {now.epoch})."
    return ""


def _because(last: Audit | None) -> str:
    if last is None:
        return ""
    return f" ({last.who}: {last.did}){f': {last.why}' if last.why else ''}"


def _in_the_way(scene: Scene, name: str, revision: int) -> str:
    """What a human, or another host, would have to mend first."""
    view = _view(scene, name)
    if view.revision < revision:
        return ""
    now = health(view)
    if view.everywhere:
        return f"{name}: {now.reason}" if now.state in ("Stalled", "Unknown", "Invalid") else ""
    return _in_the_way_of_one(view, now)


def _in_the_way_of_one(view: View, now: Health) -> str:
    name = view.manifest.metadata.name
    if now.state == "Stalled":
        return f"{name} is stalled on {now.owner or view.wanted}: {now.reason}"
    if view.owner is not None and not is_alive(view, view.owner) and not view.death(view.owner):
        return "" if proof_pending(view) else f"{name}: {now.reason}"
    if not now.owner and view.wanted not in view.sessions:
        return f"{name}: {now.reason}"
    target = view.statuses.get(view.wanted)
    has_said = target is not None and target.target is not None and target.target.revision == view.revision
    obstacles = now.obstacles.get(view.wanted, [])
    if _engine_is_on_its_way(view):
        return ""
    if now.owner and obstacles and (has_said or view.wanted not in view.sessions):
        way_out = f"It moves as soon as that is mended; to call it off: hactl set {name} primary={now.owner}"
        return f"{name} stays on {now.owner}, since {view.wanted} cannot take it: {'; '.join(obstacles)}. {way_out}"
    return ""


def _engine_is_on_its_way(view: View) -> bool:
    """The owner asks its engine to go, or it has gone from there: no member is as it should be for that while."""
    status = view.statuses.get(view.owner.host) if view.follows and view.owner is not None else None
    if status is None or status.revision != view.revision:
        return False
    return status.progress is not None or any(part.fit == Fit.NOT for part in status.parts.values())


def _state(scene: Scene, name: str) -> str:
    now = health(_view(scene, name))
    on = f" on {now.owner}" if now.owner else ""
    return f"{name} is {now.state}{on}{f': {now.reason}' if now.reason else ''}. Look on: hactl status {name} --wait"
