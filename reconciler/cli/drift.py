"""hactl drift: what differs from what is wanted and no plan explains, and what was put right within a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from reconciler.cli import screen
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.errors import Refused
from reconciler.cli.history import put_right
from reconciler.cli.options import EachLine, Last, bare
from reconciler.cli.scene import Scene, look
from reconciler.records import Event, OpenDrift, Status, parse
from reconciler.spec import SpecError
from reconciler.store import ROOT

LAST = 15
DAY = timedelta(days=1)
HEADER = ("OPEN FOR", "SERVICE", "HOST", "RESOURCE", "EXPECTED", "OBSERVED", "NOTE")


@dataclass(frozen=True)
class Row:
    """One open drift, with what its host says of the service."""

    service: str
    host: str
    resource: str
    one: OpenDrift
    status: Status


def command(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="its name; by default all", callback=bare)] = "",
    output: EachLine = None,
    last: Last = LAST,
) -> None:
    """Show what differs from what is wanted: what is open first, then what was put right within a day.
    What its columns say: hactl help drift.

    \b
    hactl drift
    hactl drift nfs
    hactl drift --last 100
    hactl drift -o json | jq 'select(.open)'
    """
    at_desk(lambda desk: drift(desk, service, datetime.now(UTC), as_json=output is not None, last=last))


async def drift(desk: Desk, service: str, now: datetime, *, as_json: bool, last: int = LAST) -> None:
    """Raises Refused, StoreError."""
    scene = await look(desk.store)
    listing = await desk.store.list(f"{ROOT}events/{service}/" if service else f"{ROOT}events/")
    if service and not listing.entries:
        with suppress(SpecError):
            scene.view(service)  # raises: there is none, and there was none lately
    entries = [(one.key.removeprefix(f"{ROOT}events/").partition("/")[0], one.value) for one in listing.entries]
    gone = [(name, event) for name, text in entries if (event := parse(Event, text)) and _is_recent(event, now)]
    gone.sort(key=lambda each: each[1].at)  # by moment, not by service
    for line in _json_lines(scene, service, gone) if as_json else _lines(scene, service, gone, last, now):
        print(line)


def _is_recent(event: Event, now: datetime) -> bool:
    seconds = screen.seconds_since(event.at, now)
    return event.kind == "repaired" and seconds is not None and seconds < DAY.total_seconds()


def _open(scene: Scene, service: str) -> list[Row]:
    """The oldest first."""
    found = [
        Row(name, host, resource, one, status)
        for name in ([service] if service else scene.services())
        for host, status in sorted(scene.statuses(name).items())
        for resource, one in status.drifts.items()
    ]
    return sorted(found, key=lambda row: row.one.since)


def _json_lines(scene: Scene, service: str, gone: list[tuple[str, Event]]) -> Iterator[str]:
    for row in _open(scene, service):
        where = {"open": True, "service": row.service, "host": row.host, "resource": row.resource}
        more = {"state": row.status.state, "doing": _doing(scene, row)}
        yield json.dumps(where | row.one.model_dump() | more, ensure_ascii=False)
    for name, event in gone:
        fields = event.model_dump(mode="json", exclude_none=True, exclude={"kind"})
        yield json.dumps({"open": False, "service": name} | fields, ensure_ascii=False)


def _lines(scene: Scene, service: str, gone: list[tuple[str, Event]], last: int, now: datetime) -> Iterator[str]:
    rows = [_cells(scene, row, now) for row in _open(scene, service)]
    yield from screen.table([HEADER, *rows], screen.columns()) if rows else [_nothing(service)]
    if silent := _silent(scene, service):
        yield f"{' and '.join(silent)} cannot say: no session (hactl status {silent[0]})"
    if gone:
        earlier = f", the last {last} of {len(gone)}" if len(gone) > last else ""
        yield ""
        yield f"put right within a day{earlier}:"
        yield from (f"  {line}" for line in screen.table([_gone(*each) for each in gone[-last:]], _room()))


def _nothing(service: str) -> str:
    return f"nothing{f' of {service}' if service else ''} differs from the spec"


def _room() -> int | None:
    columns = screen.columns()
    return columns - 2 if columns else None


def _silent(scene: Scene, service: str) -> list[str]:
    """Hosts of the services whose agents are away: that they tell of no drift means nothing."""
    hosts: set[str] = set()
    for name in [service] if service else scene.services():
        with suppress(SpecError, Refused):
            hosts |= set(scene.view(name).manifest.spec.hosts)
    return sorted(hosts - scene.sessions().keys())


def _cells(scene: Scene, row: Row, now: datetime) -> tuple[str, ...]:
    one = row.one
    note = "; ".join(filter(None, (one.cause, _doing(scene, row))))
    age = screen.age(screen.seconds_since(one.since, now))
    return age, row.service, row.host, row.resource, one.expected, one.observed, note


def _doing(scene: Scene, row: Row) -> str:
    """What is being done about it, or who has to."""
    status = row.status
    if row.host not in scene.sessions():
        return f"as {row.host} last said; its agent is away: nobody puts it right"
    if status.state == "Stalled":
        return f"stalled: {status.reason}"
    if status.progress is not None:
        return f"{status.progress.done}/{status.progress.of} {status.progress.now}"
    # Ready, Standby and Waiting give reasons of something else; a drift's own clause is in the row, or in another one.
    others = status.state in ("Ready", "Standby", "Waiting") or any(
        status.reason.startswith(each.reason) for each in status.drifts.values()
    )
    return "being put right" if others or not status.reason else status.reason


def _gone(name: str, event: Event) -> tuple[str, ...]:
    """(2026-11-24 07:02:11Z, nfs, hosta, lasted 0.4s, address 192.0.2.10/24 is missing on eth0; repaired by: …)"""
    seconds = event.seconds
    lasted = "" if seconds is None else f"lasted {f'{seconds:.1f}s' if seconds < 60 else screen.age(seconds)}"
    text = event.text.removeprefix("no longer: ")
    return screen.moment(event.at), name, event.host, lasted, f"{text}; {put_right(event)}"
