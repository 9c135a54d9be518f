"""hactl drift: what differs from what is wanted and no plan explains, and what was put right within a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from reconciler.cli import screen
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.options import EachLine, Last, bare
from reconciler.cli.scene import Scene, look
from reconciler.records import Event, OpenDrift, Status, parse
from reconciler.store import ROOT

LAST = 15
DAY = timedelta(days=1)
HEADER = ("OPEN FOR", "SERVICE", "HOST", "RESOURCE", "WANTED", "FOUND", "NOTE")


def command(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="its name; by default all", callback=bare)] = "",
    output: EachLine = None,
    last: Last = LAST,
) -> None:
    """Show what differs from what is wanted: what is open first, then what was put right within a day.

    \b
    hactl drift
    hactl drift nfs
    hactl drift -o json | jq 'select(.open)'
    """
    at_desk(lambda desk: drift(desk, service, datetime.now(UTC), as_json=output is not None, last=last))


async def drift(desk: Desk, service: str, now: datetime, *, as_json: bool, last: int = LAST) -> None:
    """Raises Refused, StoreError."""
    scene = await look(desk.store)
    if service:
        scene.view(service)  # raises: there is none
    listing = await desk.store.list(f"{ROOT}events/{service}/" if service else f"{ROOT}events/")
    entries = [(one.key.removeprefix(f"{ROOT}events/").partition("/")[0], one.value) for one in listing.entries]
    gone = [(name, event) for name, text in entries if (event := parse(Event, text)) and _is_recent(event, now)]
    lines = _json_lines(scene, service, gone) if as_json else _lines(scene, service, gone[-last:], now)
    for line in lines:
        print(line)


def _is_recent(event: Event, now: datetime) -> bool:
    seconds = screen.seconds_since(event.at, now)
    return event.kind == "repaired" and seconds is not None and seconds < DAY.total_seconds()


def _open(scene: Scene, service: str) -> Iterator[tuple[str, str, str, OpenDrift, Status]]:
    """(service, host, resource, drift, the host's status), the oldest first."""
    found = [
        (name, host, resource, one, status)
        for name in ([service] if service else scene.services())
        for host, status in sorted(scene.statuses(name).items())
        for resource, one in status.drifts.items()
    ]
    yield from sorted(found, key=lambda each: each[3].since)


def _json_lines(scene: Scene, service: str, gone: list[tuple[str, Event]]) -> Iterator[str]:
    for name, host, resource, one, status in _open(scene, service):
        where = {"open": True, "service": name, "host": host, "resource": resource, "state": status.state}
        yield json.dumps(where | one.model_dump(), ensure_ascii=False)
    for name, event in gone:
        fields = event.model_dump(mode="json", exclude_none=True, exclude={"kind"})
        yield json.dumps({"open": False, "service": name} | fields, ensure_ascii=False)


def _lines(scene: Scene, service: str, gone: list[tuple[str, Event]], now: datetime) -> Iterator[str]:
    rows = [
        (screen.age(screen.seconds_since(one.since, now)), name, host, resource, one.expected, one.observed, note)
        for name, host, resource, one, status in _open(scene, service)
        for note in [_note(scene, host, one, status)]
    ]
    what = f"of {service} " if service else ""
    yield from (screen.table([HEADER, *rows], screen.columns()) if rows else [f"nothing {what}differs from the spec"])
    if gone:
        yield ""
        yield "put right within a day:"
        yield from (f"  {gone_line(name, event)}" for name, event in gone)


def _note(scene: Scene, host: str, one: OpenDrift, status: Status) -> str:
    """What is being done about it, or who has to."""
    if host not in scene.sessions():
        doing = f"{host}'s agent is away: nobody puts it right"
    elif status.state == "Stalled":
        doing = f"stalled: {status.reason}"
    else:
        doing = status.reason if status.reason and status.reason != one.reason else "being put right"
    return "; ".join(filter(None, (one.cause, doing)))


def gone_line(name: str, event: Event) -> str:
    """2026-11-24 07:02:11Z  nfs  hosta  0.4s  address 192.0.2.10/24 is missing on eth0; 192.0.2.10/24 added"""
    lasted = f"{event.seconds:6.1f}s" if event.seconds is not None else " " * 7
    by = ", ".join(event.by) if event.by else "it went by itself"
    text = event.text.removeprefix("no longer: ")
    return f"{screen.moment(event.at)}  {name}  {event.host}  {lasted}  {text}; {by}"
