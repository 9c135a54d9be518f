"""Hosts on the screen: who is alive, what guards it, and all that witnesses say of one that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from shutil import which
from typing import Any

from reconciler.cli import screen
from reconciler.cli.health import IS_AGENT_RUNNING
from reconciler.cli.scene import Scene
from reconciler.ownership import View
from reconciler.records import Witness
from reconciler.spec import SpecError

HEAD = ("HOST", "SESSION", "GUARD", "OWNS", "NOTE")
NEEDS = (
    "its automatic services can only be taken over after hactl confirm-dead: that they need not be, it takes "
    'watchdog = "/dev/watchdog" in its /etc/hactl/hactl.toml or fencing in its Host spec'
)


def table(scene: Scene) -> list[str]:
    """One line a host."""
    hosts, sessions = scene.hosts(), scene.sessions()
    if not hosts:
        return ["There is no host yet: hactl apply -f hosts.yaml, and start its agent"]
    rows = [HEAD]
    for host in hosts:
        session = f"for {screen.since(sessions[host].since)}" if host in sessions else "none"
        rows.append((host, session, guard(scene, host), ", ".join(owns(scene, host)) or "-", _note(scene, host)))
    return screen.table(rows, screen.columns())


def owns(scene: Scene, host: str) -> list[str]:
    """Services, sorted."""
    return sorted(name for name, owner in scene.owners().items() if owner.host == host)


def guard(scene: Scene, host: str) -> str:
    """watchdog 30s, fence_ipmilan; of a host without a session, by its last word"""
    session = scene.sessions().get(host) or scene.words().get(host)
    watchdog = [f"watchdog {session.watchdog:g}s"] if session is not None and session.watchdog else []
    return ", ".join([*watchdog, *_fence(scene, host)]) or "none"


def _fence(scene: Scene, host: str) -> list[str]:
    manifest = scene.host_manifests().get(host)
    return [manifest.spec.fencing.agent] if manifest is not None and manifest.spec.fencing is not None else []


def _note(scene: Scene, host: str) -> str:
    session, drained = scene.sessions().get(host), _drained(scene, host)
    if session is None:
        return "; ".join([*drained, IS_AGENT_RUNNING, *evidence(scene, host)])
    said = drained + ([] if scene.has_host(host) else ["there is no manifest of it (kind: Host)"])
    said += [NEEDS] if guard(scene, host) == "none" and any(v.automatic for v in _views(scene, host)) else []
    return "; ".join([*said, *session.lacks])


def _drained(scene: Scene, host: str) -> list[str]:
    drain = scene.drained().get(host)
    return [f"drained {drain}: hactl undrain {host}"] if drain else []


def _views(scene: Scene, host: str) -> list[View]:
    """Services that may run on it and whose specs can be read."""
    found = []
    for name in scene.services():
        try:
            view = scene.view(name)
        except SpecError:
            continue
        if host in view.manifest.spec.hosts:
            found.append(view)
    return found


def evidence(scene: Scene, host: str) -> list[str]:
    """What witnesses say of a host that has no session: clauses. Pure."""
    views = [view for view in _views(scene, host) if view.owner is not None and view.owner.host == host]
    found: list[str] = []
    for view in views:
        assert view.owner is not None
        found += [death] if (death := view.death(view.owner)) else []
        for peer, status in sorted(view.statuses.items()):
            if peer != host and peer in scene.sessions():
                found += _seen(peer, status.witness, host)
                found += _links(peer, {part: one.says for part, one in status.parts.items()}, host)
    if views and not _fence(scene, host):
        found.append("it has no fence device (fencing in its Host spec)")
    return list(dict.fromkeys(found))


def _seen(peer: str, witness: Witness | None, host: str) -> list[str]:
    if witness is None or witness.host != host:
        return []
    found = [f"{peer} saw its session go at {witness.gone}"] if witness.gone else []
    if witness.promised:
        return [*found, f"{peer} has heard from it within its last promise: it runs without etcd"]
    return found + ([f"{peer} waits for a proof that it is down: {witness.proof}"] if witness.proof else [])


def _links(peer: str, parts: dict[str, str], host: str) -> list[str]:
    """Of a disk's `Secondary, UpToDate; hosta Connecting/DUnknown`, what is said of the other side."""
    found = []
    for part, says in sorted(parts.items()):
        if part.startswith("disk/") and "; " in says:
            links = says.partition("; ")[2].split(", ")
            found += [link for link in links if link.startswith((f"{host} ", "peer "))]
    return [f"{peer} has its replication link to it {link.partition(' ')[2]}" for link in dict.fromkeys(found)]


# -- hactl status HOST -------------------------------------------------------------------------------------------------

Ping = Callable[[str], Awaitable[bool]]


async def ping(address: str) -> bool:
    """Does it answer one echo, asked from here?"""
    program = await asyncio.create_subprocess_exec(
        "ping",
        *("-n", "-c", "1", "-W", "1", address),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await program.wait() == 0


async def details(scene: Scene, host: str, ask: Ping | None = None) -> list[str]:
    """All that is known of one host. `ask`: by default, ping, where there is one."""
    ask = ask or (ping if which("ping") else None)
    rows = [("session", _session(scene, host)), ("guard", guard(scene, host)), ("owns", _owned(scene, host))]
    rows += [("drain", said) for said in _drained(scene, host)]
    session = scene.sessions().get(host)
    if session is not None:
        rows += [("failsafe", f"asks {', '.join(session.promisers)}" if session.promisers else "-")]
        rows += [("lacks", lack) for lack in session.lacks]
    else:
        rows += [("evidence", clause) for clause in evidence(scene, host)]
    manifest = scene.host_manifests().get(host)
    addresses = [str(one) for one in manifest.spec.addresses] if manifest is not None else []
    if ask is not None:
        answers = await asyncio.gather(*(ask(address) for address in addresses))
        rows += [
            ("address", f"{address} {'answers' if one else 'does not answer'} a ping from here")
            for address, one in zip(addresses, answers, strict=True)
        ]
    else:
        rows += [("address", address) for address in addresses]
    return [f"host {host}", *screen.table([(f"  {what}", said) for what, said in rows], screen.columns())]


def _session(scene: Scene, host: str) -> str:
    session = scene.sessions().get(host)
    if session is None:
        return f"none: {IS_AGENT_RUNNING}"
    return (
        f"for {screen.since(session.since)}, lease {session.lease:g}s, boot {session.boot_id}, hactl {session.version}"
    )


def _owned(scene: Scene, host: str) -> str:
    owners = scene.owners()
    return ", ".join(f"{name} (epoch {owners[name].epoch})" for name in owns(scene, host)) or "nothing"


def as_json(scene: Scene) -> list[dict[str, Any]]:
    """docs/status-json.md"""
    sessions, manifests, drained = scene.sessions(), scene.host_manifests(), scene.drained()
    return [
        {
            "host": host,
            "session": sessions[host].model_dump(mode="json") if host in sessions else None,
            "addresses": list(manifests[host].spec.addresses) if host in manifests else [],
            "fencing": next(iter(_fence(scene, host)), None),
            "drain": drained[host].model_dump(mode="json") if host in drained else None,
            "owns": owns(scene, host),
            "evidence": [] if host in sessions else evidence(scene, host),
        }
        for host in scene.hosts()
    ]
