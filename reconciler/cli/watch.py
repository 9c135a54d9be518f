"""hactl watch: what happens, as it happens: states, steps, drift, decisions, changes. Plain lines into a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Annotated

import typer

from reconciler.cli import screen
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.history import audit_line, event_line
from reconciler.cli.options import bare
from reconciler.cli.scene import Scene, follow, look
from reconciler.records import Audit, Event, Status, parse
from reconciler.store import ROOT, Change, StoreError

AGAIN = 2.0  # seconds until etcd is asked again
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
    """For ever, also while etcd is away. Raises Refused, and StoreError when it never answered."""
    scene = await look(desk.store)
    if service:
        scene.view(service)  # raises: there is none
    teller = Watcher(service, scene)
    teller.begin()
    while True:
        try:
            async with aclosing(follow(desk.store, scene)) as told:
                async for changes in told:
                    teller.tell(changes)
        except StoreError as e:
            print(f"{e}; what happens meanwhile is not seen. Asking again …", flush=True)
        scene = await _anew(desk)
        print("etcd answers again", flush=True)
        teller.anew(scene)


async def _anew(desk: Desk) -> Scene:
    while True:
        try:
            return await look(desk.store)
        except StoreError:
            await asyncio.sleep(AGAIN)


class Watcher:
    """Says each thing once."""

    def __init__(self, service: str, scene: Scene) -> None:
        self._service, self._scene = service, scene
        self._states: dict[tuple[str, str], tuple[str, str]] = {}

    def begin(self) -> None:
        """How things stand."""
        for name in [self._service] if self._service else self._scene.services():
            for host, status in sorted(self._scene.statuses(name).items()):
                self._state(name, host, status)

    def anew(self, scene: Scene) -> None:
        """After a time in which nothing was seen: what has changed of the states."""
        self._scene = scene
        self.begin()

    def tell(self, changes: Iterable[Change]) -> None:
        """In the order in which it happened."""
        for change in changes:
            section, _, rest = change.key.removeprefix(ROOT).partition("/")
            name = rest.partition("/")[0]
            if change.entry is None or (section in ("events", "status") and self._service not in ("", name)):
                continue
            if section == "events" and (event := parse(Event, change.entry.value)):
                _print(f"{event_line(event)}", COLOUR_OF.get(event.kind, ""), name)
            elif section == "status" and (status := parse(Status, change.entry.value)):
                self._state(name, rest.rpartition("/")[2], status)
            elif section == "audit" and (audit := parse(Audit, change.entry.value)) and self._is_about(audit):
                _print(audit_line(audit), "", "")

    def _is_about(self, audit: Audit) -> bool:
        return self._service in ("", audit.what.removeprefix("service/"))

    def _state(self, name: str, host: str, status: Status) -> None:
        now = (status.state, status.reason)
        if self._states.get((name, host)) == now:
            return
        self._states[name, host] = now
        why = f": {status.reason}" if status.reason else ""
        line = f"{screen.moment(status.since)}  {host}           is {status.state}{why}"
        _print(line, screen.colour_of(status.state), name)


def _print(line: str, colour: str, name: str) -> None:
    """The service's name goes behind the moment."""
    moment, _, rest = line.partition("Z  ")
    text = f"{moment}Z  {name:10}  {rest}" if name and rest else line
    print(f"\x1b[{colour}m{text}\x1b[0m" if colour and screen.coloured() else text, flush=True)
