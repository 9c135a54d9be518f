"""hactl audit, hactl events: who changed what, and what the hosts did about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from reconciler.cli import screen
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.merge import differences
from reconciler.cli.options import EachLine, Last, ServiceName
from reconciler.cli.scene import follow, look
from reconciler.records import Audit, Event, parse
from reconciler.store import ROOT, Entry

LAST = 50


def audit_command(
    service: ServiceName = "",
    output: EachLine = None,
    last: Last = LAST,
) -> None:
    """Show who changed what, when, from where, before and after, and why.

    \b
    hactl audit nfs
    hactl audit host/hosta
    hactl audit --last 5
    hactl audit nfs -o json | jq .why
    """
    at_desk(lambda desk: audit(desk, service, last, as_json=output is not None))


def events_command(
    service: ServiceName,
    output: EachLine = None,
    last: Last = LAST,
    following: Annotated[bool, typer.Option("--follow", "-f", help="go on with what happens next")] = False,
) -> None:
    """Show what the hosts did: steps with their seconds, decisions, drift. Kept for 7 days.

    \b
    hactl events nfs
    hactl events nfs --follow
    hactl events nfs -o json
    """
    at_desk(lambda desk: events(desk, service, last, as_json=output is not None, following=following))


async def audit(desk: Desk, service: str, last: int, *, as_json: bool) -> None:
    """Raises StoreError."""
    what = service if "/" in service or not service else f"service/{service}"
    entries = (await desk.store.list(f"{ROOT}audit/")).entries
    found = [(entry, record) for entry in entries if (record := parse(Audit, entry.value))]
    found = [each for each in found if what in ("", each[1].what)]
    for line in _lines(found, last, as_json):
        print(line)
    if not found and not as_json:
        print(f"nobody has changed {what or 'anything'} within a year")


def _lines(found: list[tuple[Entry, Audit]], last: int, as_json: bool) -> Iterator[str]:
    if as_json:
        yield from (entry.value for entry, _ in found)
        return
    yield from (audit_line(record) for _, record in found[-last:])


def audit_line(record: Audit) -> str:
    """2026-11-24 07:02:11Z  root from witness  service/nfs  set primary=hostb  (primary hosta -> hostb)  why: …"""
    changes = differences(record.before, record.after) if record.before and record.after else []
    parts = [screen.moment(record.at), f"{record.who} from {record.whence}", record.what, record.did]
    parts += [f"({', '.join(changes)})"] if changes else []
    parts += [f"why: {record.why}"] if record.why else []
    return "  ".join(parts)


async def events(desk: Desk, service: str, last: int, *, as_json: bool, following: bool = False) -> None:
    """Raises Refused, StoreError."""
    prefix = f"{ROOT}events/{service}/"
    listing = await desk.store.list(prefix)
    scene = await look(desk.store)
    if not listing.entries and service not in scene.services():
        scene.view(service)  # raises: there is none
    shown = listing.entries if as_json else listing.entries[-last:]
    for entry in shown:
        _print(entry, as_json)
    if not shown and not as_json and not following:
        print(f"nothing has happened to {service} within 7 days")
    if not following:
        return
    seen = {entry.key for entry in listing.entries}
    async for changes in follow(desk.store, scene):
        for change in changes:
            if change.entry and change.key.startswith(prefix) and change.key not in seen:
                _print(change.entry, as_json)


def _print(entry: Entry, as_json: bool) -> None:
    event = parse(Event, entry.value)
    if event is not None:
        print(entry.value if as_json else event_line(event), flush=True)


def event_line(event: Event) -> str:
    """2026-11-24 07:02:11Z  hosta    0.1s  192.0.2.10/24 removed: this host is not to have it"""
    return f"{screen.moment(event.at)}  {event_words(event)}"


def event_words(event: Event) -> str:
    """The line without its moment. Of a drift: how the part differs, what is expected, why where it is known; of its
    end: what put it right."""
    seconds = f"{event.seconds:6.1f}s" if event.seconds is not None else " " * 7
    match event.kind:
        case "drift":
            wanted = f"; expected: {event.expected}" if event.expected else ""
            why = f"; cause: {event.reason}" if event.reason else ""
            text = f"drift: {event.text}{wanted}{why}"
        case "repaired":
            text = f"{event.text}; {put_right(event)}"
        case _:
            text = f"{event.text}{f': {event.reason}' if event.reason else ''}"
    return f"{event.host}  {seconds}  {text}"


def put_right(event: Event) -> str:
    """What ended a drift."""
    steps = ", ".join(event.by or ()) or event.reason
    return f"repaired by: {steps}" if steps else "it went by itself"
