"""hactl status: what runs where, could it move now, and if not why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from reconciler.cli import everywhere, hosts, local, screen, watching
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.get import Format
from reconciler.cli.health import Health, health
from reconciler.cli.options import Timeout, bare
from reconciler.cli.scene import Scene, look
from reconciler.local import Report
from reconciler.records import Status
from reconciler.spec import SpecError, nearest
from reconciler.store import StoreUnreachable

HEAD = ("SERVICE", "PRIMARY", "STATE", "FOR", "COULD MOVE NOW", "NOTE")


def command(
    service: Annotated[str, typer.Argument(metavar="[SERVICE|HOST]", help="one of them", callback=bare)] = "",
    output: Annotated[Format | None, typer.Option("--output", "-o", help="for programs: docs/status-json.md")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until it is Ready on its primary")] = False,
    timeout: Timeout = None,
) -> None:
    """Show what runs where, whether it could move now, and if not why. Of one service, also what each host sees of it;
    of a host, all that speaks for its being alive or dead. On a host that cannot reach etcd, its agent answers root.

    \b
    hactl status
    hactl status nfs
    hactl status hosta
    hactl status nfs --wait --timeout 120
    hactl status -o json
    """
    at_desk(lambda desk: status(desk, service, output, wait=wait, timeout=timeout))


async def status(
    desk: Desk,
    service: str,
    output: Format | None,
    *,
    wait: bool,
    timeout: float | None,
    socket: Path = local.SOCKET,
) -> None:
    """Raises Refused (Code.NOT_YET too), StoreError."""
    scene = await _scene_or_report(desk, socket)
    if isinstance(scene, Report):
        if wait:
            raise Refused(Code.NO_ETCD, "etcd is out of reach, so nothing can be waited for (try without --wait)")
        if service and service not in scene.services:
            known = nearest(service, scene.services)
            raise Refused(Code.NO_ETCD, f"etcd is out of reach, and {scene.host} knows of no service {service}{known}")
        say = local.as_json(scene, service) if output is not None else local.lines(scene, service)
        _print(say, output)
        return
    if (host := service.removeprefix("host/")) in scene.hosts() and service not in scene.services() and output is None:
        _print(await hosts.details(scene, host), None)
        return
    if service:
        _exists(scene, service)
    if wait:
        for name in [service] if service else scene.services():
            await watching.until_ready(desk.store, scene, name, timeout, live=output is None)
    if output is not None:
        _print(as_json(scene, service), output)
        return
    lines = service_table(scene, [service] if service else scene.services())
    lines += details(scene, service) if service else ["", *hosts.table(scene)]
    _print(lines, None)


async def _scene_or_report(desk: Desk, socket: Path) -> Scene | Report:
    """What etcd says or, where it does not answer soon on a host with an agent, what that knows. Raises StoreError."""
    if not local.may_ask(socket):
        try:
            return await look(desk.store)
        except StoreUnreachable as e:
            raise StoreUnreachable(f"{e}{local.hint(socket)}") from e
    try:
        async with asyncio.timeout(local.ETCD_PATIENCE):
            return await look(desk.store)
    except (TimeoutError, StoreUnreachable):
        return await local.ask(socket) or await look(desk.store)


def _print(found: Sequence[str] | dict[str, Any], output: Format | None) -> None:
    if isinstance(found, dict):
        print(json.dumps(found, indent=2, ensure_ascii=False) if output is Format.JSON else _yaml(found))
    else:
        print("\n".join(found))


def _exists(scene: Scene, service: str) -> None:
    """Raises Refused. A spec that is none is a service all the same."""
    try:
        scene.view(service)
    except SpecError:
        return


def health_of(scene: Scene, name: str) -> Health:
    """Also of a service whose spec is none."""
    try:
        return health(scene.view(name))
    except SpecError as e:
        owner = scene.owners().get(name)
        said = f"the spec in etcd is not valid, so all is left as it is: {e} (mend it with hactl apply)"
        host, epoch = (owner.host, owner.epoch) if owner else ("", 0)
        return Health(primary=host, owner=host, epoch=epoch, state="Invalid", reason=said)


def service_table(scene: Scene, names: Sequence[str]) -> list[str]:
    """One line a service."""
    if not names:
        return ["There is no service yet: hactl apply -f FILE"]
    found = [(name, health_of(scene, name)) for name in names]
    rows = [HEAD, *(_row(name, one) for name, one in found)]
    colours = ["", *(screen.colour_of(one.state) for _, one in found)] if screen.coloured() else []
    return screen.table(rows, screen.columns(), colours)


def _row(name: str, one: Health) -> tuple[str, ...]:
    could, why_not = _could_move(one)
    note = "; ".join(part for part in (one.reason, why_not) if part)
    where = everywhere.called(one.on) if one.on else one.owner or one.primary or "-"
    return name, where, one.state, screen.since(one.since), could, note


def _could_move(one: Health) -> tuple[str, str]:
    """("yes, to hostb", "") or ("no", why)"""
    if one.state in ("Moving", "Stopping", "Invalid", "Paused") or not one.obstacles or not one.owner:
        return "-", ""
    if one.able and one.silent:
        return "once proven", ""
    if one.able:
        return f"yes, to {' or '.join(one.able)}", ""
    if one.owner != one.primary and one.reason:
        return "no", ""  # a blocked move has said so already
    return "no", "; ".join(_first(host, why) for host, why in one.obstacles.items())


def _first(host: str, why: Sequence[str]) -> str:
    text = why[0] if why[0].startswith(f"{host} ") else f"{host}: {why[0]}"
    return f"{text} (and {len(why) - 1} more: hactl status SERVICE)" if len(why) > 1 else text


def details(scene: Scene, name: str) -> list[str]:
    """What each host sees of it."""
    lines: list[str] = []
    sessions = scene.sessions()
    for host, seen in sorted(scene.statuses(name).items()):
        lines += [
            "",
            f"{name} on {host}: {_summary(seen)}{'' if host in sessions else ' (before it lost its session)'}",
        ]
        lines += [f"  cannot take it: {obstacle}" for obstacle in (seen.target.obstacles if seen.target else [])]
        rows = [
            (f"  {part}", f"{one.says}   <- {one.problem}" if one.problem and seen.role == "active" else one.says)
            for part, one in seen.parts.items()
        ]
        lines += screen.table(rows) if rows else []
    return lines


def _summary(seen: Status) -> str:
    said = f"{seen.role}, {seen.state} for {screen.since(seen.since)}"
    ready = ", could take it" if seen.target and seen.target.ready else ""
    return f"{said}{ready}{f': {seen.reason}' if seen.reason else ''}"


def as_json(scene: Scene, service: str = "") -> dict[str, Any]:
    """docs/status-json.md"""
    names = [service] if service else scene.services()
    services = [_service_json(scene, name) for name in names]
    return {"services": services, "hosts": hosts.as_json(scene), "without_etcd": None}


def _service_json(scene: Scene, name: str) -> dict[str, Any]:
    one = health_of(scene, name)
    return {
        "service": name,
        "primary": one.primary or None,
        "on": list(one.on),
        "owner": one.owner or None,
        "epoch": one.epoch,
        "state": one.state,
        "reason": one.reason,
        "since": one.since or None,
        "paused": one.paused.model_dump(mode="json") if one.paused else None,
        "targets": {host: {"ready": not why, "obstacles": why} for host, why in one.obstacles.items()},
        "hosts": {host: seen.model_dump(mode="json") for host, seen in sorted(scene.statuses(name).items())},
    }


def _yaml(found: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120)).rstrip()
