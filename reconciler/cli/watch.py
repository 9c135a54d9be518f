"""hactl watch: what happens, as it happens: states, steps, drift, decisions, changes. Plain lines into a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.cli import screen
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.history import audit_line, event_words
from reconciler.cli.options import bare
from reconciler.cli.scene import Scene, follow, look
from reconciler.records import Audit, Event, Session, Status, parse, stamp
from reconciler.store import ROOT, Change, Denied, StoreError

AGAIN = 2.0  # seconds until etcd is asked again
SILENCE = 8.0  # seconds without a sign of life: longer than the change to another member takes
COLOUR_OF = {"failed": screen.RED, "drift": screen.YELLOW, "repaired": screen.GREEN}


def command(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="its name; by default all", callback=bare)] = "",
) -> None:
    """Show what happens, as it happens, until Ctrl-C: states, steps with their seconds, drift, decisions, changes.

    \b
    hactl watch
    hactl watch nfs
    hactl watch | tee /tmp/morning.log
    """
    at_desk(lambda desk: watch(desk, service))


async def watch(desk: Desk, service: str) -> None:
    """For ever, also while etcd is away: what happened meanwhile is told once it is back. Raises Refused, Denied, and
    StoreError when it never answered."""
    scene = await look(desk.store)
    if service:
        scene.view(service)  # raises: there is none
    teller = Watcher(service, scene)
    teller.begin()
    clock, failed = asyncio.get_running_loop().time, 0.0
    while True:
        try:
            async with aclosing(follow(desk.store, scene)) as told:
                async for changes in told:
                    teller.etcd(away=scene.heard <= failed or clock() - scene.heard > SILENCE)
                    teller.tell(changes)
        except Denied:
            raise
        except StoreError as e:
            failed = clock()
            teller.etcd(away=True, why=str(e))
        await asyncio.sleep(AGAIN)


class Watcher:
    """Says each thing once."""

    def __init__(self, service: str, scene: Scene) -> None:
        self._service, self._scene = service, scene
        self._states: dict[tuple[str, str], tuple[str, str]] = {}
        self._sessions: dict[str, str] = {}  # by host: the boot id
        self._away = False

    def begin(self) -> None:
        """How things stand."""
        names = [self._service] if self._service else self._scene.services()
        if not names:
            print("There is no service yet: hactl apply -f FILE", flush=True)
        self._sessions = {host: one.boot_id for host, one in self._scene.sessions().items()}
        for host in self._scene.hosts():
            if host not in self._sessions:
                self._session_gone(host)
        for name in names:
            for host, status in sorted(self._scene.statuses(name).items()):
                self._state(name, host, status)

    def etcd(self, *, away: bool, why: str = "etcd does not answer") -> None:
        """In one line when it goes, in one when it is back."""
        if away == self._away:
            return
        self._away = away
        text = f"{why}; the agents go on, what they do is shown when it is back" if away else "etcd answers again"
        _print(_now(), "", text, screen.RED if away else screen.GREEN)

    def tell(self, changes: Iterable[Change]) -> None:
        """In the order in which it happened."""
        for change in changes:
            section, _, rest = change.key.removeprefix(ROOT).partition("/")
            match section:
                case "sessions":
                    self._session(rest, change)
                case "events" | "status" if self._service in ("", rest.partition("/")[0]):
                    self._of_service(section, rest, change)
                case "audit" if change.entry and (audit := parse(Audit, change.entry.value)):
                    self._audit(audit)

    def _audit(self, audit: Audit) -> None:
        if self._service in ("", audit.what.removeprefix("service/")):
            print(audit_line(audit), flush=True)

    def _of_service(self, section: str, rest: str, change: Change) -> None:
        name = rest.partition("/")[0]
        if change.entry is None:
            return
        if section == "events" and (event := parse(Event, change.entry.value)):
            _print(event.at, name, event_words(event), COLOUR_OF.get(event.kind, ""))
        elif section == "status" and (status := parse(Status, change.entry.value)):
            self._state(name, rest.rpartition("/")[2], status)

    def _state(self, name: str, host: str, status: Status) -> None:
        now, before = (status.state, status.reason), self._states.get((name, host))
        if before == now:
            return
        self._states[name, host] = now
        # A reason that changes does so later than the state began.
        moment = _now() if before is not None and before[0] == status.state else status.since
        why = f": {status.reason}" if status.reason else ""
        _print(moment, name, f"{host}           is {status.state}{why}", screen.colour_of(status.state))

    def _session(self, host: str, change: Change) -> None:
        """An agent's that begins or is gone; its renewals are no news."""
        session = parse(Session, change.entry.value) if change.entry else None
        if session is None and self._sessions.pop(host, None) is not None:
            self._session_gone(host)
        elif session is not None and self._sessions.get(host) != session.boot_id:
            self._sessions[host] = session.boot_id
            _print(session.since, "", f"{host}           has a session: its agent is there", screen.GREEN)

    def _session_gone(self, host: str) -> None:
        text = f"{host}           has no session: its agent is away, or the host is (hactl status {host})"
        _print(_now(), "", text, screen.RED)


def _now() -> str:
    return stamp(datetime.now(UTC))


def _print(at: str, name: str, text: str, colour: str) -> None:
    """`name`: of the service, "" where it is of all."""
    line = f"{screen.moment(at)}  {name:10}  {text}"
    print(f"\x1b[{colour}m{line}\x1b[0m" if colour and screen.coloured() else line, flush=True)
