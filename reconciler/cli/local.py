"""The agent's own answer, over a socket that only root may use: `hactl status` on a host that cannot reach etcd.

One line each way: `status`, then a `reconciler.local.Report`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loguru import logger

from reconciler.cli import everywhere, screen
from reconciler.local import LocalService, Report
from reconciler.records import parse

SOCKET = Path("/run/hactl/agent.sock")
PATIENCE = 2.0  # seconds for the agent's answer
ETCD_PATIENCE = 3.0  # seconds for etcd's, where an agent could answer instead
LONGEST = 2**24  # bytes of a line
HEAD = ("SERVICE", "PRIMARY", "STATE", "FOR", "NOTE")


@asynccontextmanager
async def listening(report: Callable[[], Report], path: Path = SOCKET) -> AsyncIterator[None]:
    """Answers meanwhile; where that cannot be, it is logged and nothing else."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                if (await reader.readline()).strip() == b"status":
                    writer.write(report().line().encode() + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # who asked has gone
        finally:
            writer.close()

    try:
        server = await _bound(one, path)
    except OSError as e:
        logger.warning("hactl status cannot ask this agent when etcd is away: {}: {}", path, e.strerror)
        yield
        return
    try:
        yield
    finally:
        server.close()
        _make_room(path)


async def _bound(one: Callable[..., Any], path: Path) -> asyncio.Server:
    """Root's alone from the first moment on."""
    _make_room(path)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(one, path)
    finally:
        os.umask(before)


def _make_room(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def may_ask(path: Path = SOCKET) -> bool:
    """Does this look like a host with an agent that answers this user?"""
    return os.access(path, os.R_OK | os.W_OK)


def hint(path: Path = SOCKET) -> str:
    """For a user whom the agent of this host does not answer."""
    return " (its agent answers root: sudo hactl status)" if path.exists() and not may_ask(path) else ""


async def ask(path: Path = SOCKET) -> Report | None:
    """None where no agent answers."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST)
            writer.write(b"status\n")
            line = await reader.readline()
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()
    return parse(Report, line.decode(errors="replace"))


# -- shown, pure -------------------------------------------------------------------------------------------------------


def lines(report: Report, service: str = "") -> list[str]:
    """What the agent knows, and how old that is."""
    names = [service] if service in report.services else sorted(report.services)
    rows = [HEAD, *(_row(name, report.services[name], report) for name in names)]
    found = [*_heading(report), "", *screen.table(rows, screen.columns())]
    if service in report.services:
        found += _details(report.services[service], report.host)
    return [*found, "", *_host(report)]


def _heading(report: Report) -> list[str]:
    heard = (
        f"{screen.age(report.etcd)} ago" if report.synced else "not since it began, and goes on from what was before"
    )
    ages = [one.looked for one in report.services.values() if one.looked is not None]
    looked = f", at its services {screen.age(max(ages))} ago or later" if ages else ""
    away = "does not answer here" if report.connected else f"is out of reach for {screen.age(report.etcd)}"
    return [
        f"etcd {away}. This is what the agent of {report.host} knows by itself, and not of other hosts.",
        f"It heard of etcd {heard}{looked}.",
    ]


def _row(name: str, one: LocalService, report: Report) -> tuple[str, ...]:
    mine = report.host in one.on
    if one.owner is not None:
        mine = (one.owner.host, one.owner.boot_id) == (report.host, report.boot_id)
    status = one.status if mine else None
    state, since = (status.state, screen.since(status.since)) if status else ("Unknown", "-")
    where = everywhere.called(one.on) or (one.owner.host if one.owner else one.wanted or "-")
    return name, where, state, since, _note(one, report, mine)


def _note(one: LocalService, report: Report, mine: bool) -> str:
    """kept by promise of hostb, etcd is out of reach for 40s"""
    why = f"{one.why}, etcd is out of reach for {screen.age(report.etcd)}" if one.why and mine else one.why
    reason = one.status.reason if one.status and mine else ""
    return "; ".join(part for part in (why, reason) if part)


def _details(one: LocalService, host: str) -> list[str]:
    if one.status is None:
        return []
    rows = [
        (f"  {part}", f"{seen.says}   <- {seen.problem}" if seen.problem else seen.says)
        for part, seen in one.status.parts.items()
    ]
    return ["", f"as {host} saw it {screen.age(one.looked)} ago:", *(screen.table(rows) if rows else [])]


def _host(report: Report) -> list[str]:
    session = "its session still stands" if report.connected else "it has no session by now"
    guard = f"watchdog {report.watchdog:g}s" if report.watchdog else f"no watchdog {report.guard}".rstrip()
    return [f"{report.host}: {session}; {guard}"]


def as_json(report: Report, service: str = "") -> dict[str, Any]:
    """docs/status-json.md"""
    names = [service] if service in report.services else sorted(report.services)
    services = []
    for name in names:
        one = report.services[name]
        _, _, state, _, note = _row(name, one, report)
        services.append(
            {
                "service": name,
                "primary": None if one.on else one.wanted or None,
                "on": list(one.on),
                "owner": one.owner.host if one.owner else None,
                "epoch": one.owner.epoch if one.owner else 0,
                "state": state,
                "reason": note,
                "since": one.status.since if one.status else None,
                "targets": {},
                "hosts": {report.host: one.status.model_dump(mode="json")} if one.status else {},
            }
        )
    return {"services": services, "hosts": [], "without_etcd": report.model_dump(mode="json", exclude={"services"})}
