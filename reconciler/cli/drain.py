"""hactl drain, hactl undrain: every exclusive service leaves a host, and nothing comes to it until it may again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from reconciler.cli import watching
from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.cli.leaving import Leaving, candidates, homes, is_there, leaving, listed
from reconciler.cli.merge import plain
from reconciler.cli.options import Reason
from reconciler.cli.scene import Scene, look
from reconciler.cli.set_ import service_view, target_obstacles
from reconciler.ownership import View
from reconciler.spec import Drain, nearest, to_json
from reconciler.store import Txn, host_key, service_key

PATIENT, AGAIN = 60.0, 3.0  # seconds for what is in a service's way to pass, and between two looks at it

HostName = Annotated[
    str, typer.Argument(metavar="HOST", help="its name", callback=lambda name: name.removeprefix("host/"))
]


@dataclass(frozen=True)
class Options:
    """Of one call. `timeout`: seconds for each service, None for the default."""

    reason: str = ""
    at_once: int = 1
    wait: bool = True
    timeout: float | None = None


@dataclass(frozen=True)
class Sent:
    """A service that was told to go: where to, by which revision of its spec; or why it was not, and may that pass."""

    source: str
    target: str = ""
    revision: int = 0
    why: str = ""
    passes: bool = False


def drain_command(
    host: HostName,
    at_once: Annotated[int, typer.Option(min=1, help="how many services move side by side")] = 1,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="until each is Ready elsewhere, one after the other")
    ] = True,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="seconds for each; by default its deadline and a minute more")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would move where, change nothing")] = False,
    reason: Reason = "",
) -> None:
    """Move every exclusive service away from a host, so that it may be rebooted.

    From the first moment on the host is no target of moves and takeovers, until hactl undrain, also after its reboot.
    A service that others need moves before them. What cannot move within a minute stays and is named with its reason,
    the others move. Said again, it goes on where it was.

    \b
    hactl drain hosta --reason "new kernel"
    hactl drain hosta --at-once 3
    hactl drain hosta --dry-run
    """
    if dry_run:
        at_desk(lambda desk: rehearse(desk, host))
        return
    at_desk(lambda desk: drain(desk, host, Options(reason, at_once, wait, timeout)))


def undrain_command(host: HostName, reason: Reason = "") -> None:
    """Let a drained host take services again. Nothing moves back by itself.

    \b
    hactl undrain hosta
    """
    at_desk(lambda desk: undrain(desk, host, reason))


# -- the mark on the host ----------------------------------------------------------------------------------------------


async def _mark(desk: Desk, host: str, reason: str, *, on: bool) -> bool | None:
    """None when somebody else was faster. Raises Refused."""
    scene = await look(desk.store)
    if host not in scene.hosts():
        raise refuse(Code.WRONG, f"there is no host {host}{nearest(host, scene.hosts())}")
    entry, manifest, stands = scene.entry(host_key(host)), scene.host_manifests().get(host), scene.drained().get(host)
    if entry is not None and manifest is None:
        raise refuse(Code.WRONG, f"the spec of host {host} in etcd is not valid: mend it with hactl apply")
    if (stands is not None) == on:
        print(
            f"{host} is drained already, {stands}" if on else f"{host} is not drained; nothing was changed", flush=True
        )
        return True
    document: dict[str, Any] = plain(manifest) if manifest else _new(host)
    spec = {key: value for key, value in document.get("spec", {}).items() if key != "drain"}
    audit = desk.audit(f"host/{host}", "drain" if on else "undrain", before=document.get("spec", {}), why=reason)
    if on:
        spec["drain"] = Drain(at=audit.at, by=audit.who, why=audit.why).model_dump(mode="json")
    audit, key = audit.model_copy(update={"after": spec}), host_key(host)
    txn = Txn({key: entry.revision if entry else 0}, {key: (to_json({**document, "spec": spec}), 0)})
    if await desk.commit(txn, audit) is None:
        return None
    said = "is drained: it is no target of moves and takeovers until hactl undrain" if on else "takes services again"
    print(f"{host} {said}{f' {host}' if on else ''}", flush=True)
    return True


def _new(host: str) -> dict[str, Any]:
    return {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": host}}


async def undrain(desk: Desk, host: str, reason: str) -> None:
    """Raises Refused, StoreError."""
    await until_committed(lambda: _mark(desk, host, reason, on=False), f"host/{host}")
    for name in homes(await look(desk.store), host):
        print(f"  {name} stays where it is; to move it home: hactl set {name} primary={host} --wait", flush=True)


# -- moving ------------------------------------------------------------------------------------------------------------


async def drain(desk: Desk, host: str, options: Options) -> None:
    """Raises Refused with NOT_YET when something has stayed, StoreError."""
    await until_committed(lambda: _mark(desk, host, options.reason, on=True), f"host/{host}")
    found = leaving(await look(desk.store), host)
    problems = dict(found.unreadable) | await _all(desk, host, found, options)
    scene = await look(desk.store)
    stays = [*found.unreadable, *(leaving(scene, host).names if options.wait else problems)]
    reasons = listed((name, problems.get(name, "it came back")) for name in dict.fromkeys(stays))
    if stays:
        again = f"When that is mended, hactl drain {host} goes on."
        raise Refused(Code.NOT_YET, f"{host} keeps {', '.join(dict.fromkeys(stays))}:\n{reasons}\n{again}")
    if not options.wait:
        print(f"All are told to leave. hactl drain {host} says when they have.", flush=True)
        return
    may = f"{host} has no exclusive service any more: it may be rebooted. When it is back: hactl undrain {host}"
    if problems:
        raise Refused(Code.NOT_YET, f"{may}\nBut not all that left is well:\n{listed(sorted(problems.items()))}")
    print(may, flush=True)


async def _all(desk: Desk, host: str, found: Leaving, options: Options) -> dict[str, str]:
    """Move them, `at_once` side by side, each after those that it needs; why some are not well elsewhere, by name."""
    over = {name: asyncio.Event() for name in found.names}
    room = asyncio.Semaphore(options.at_once if options.wait else len(over) or 1)
    problems: dict[str, str] = {}

    async def one(name: str) -> None:
        for other in sorted(found.needs[name]):
            if found.names.index(other) < found.names.index(name):  # else they are a circle
                await over[other].wait()
        why = await _leave_in_time(desk, name, host, options, room)
        if why:
            problems[name] = why
            print(f"{name}: {why}", flush=True)
        over[name].set()

    async with asyncio.TaskGroup() as tasks:
        for name in found.names:
            tasks.create_task(one(name))
    return problems


async def _leave_in_time(desk: Desk, name: str, host: str, options: Options, room: asyncio.Semaphore) -> str:
    """As `_leave`, waiting for what may pass; the others have the room meanwhile. Raises StoreError."""
    now = asyncio.get_running_loop().time
    patient, said = now() + (PATIENT if options.wait else 0.0), ""
    while True:
        async with room:
            why, passes = await _leave(desk, name, host, options)
        if not passes or now() >= patient:
            return why
        if why != said:
            print(f"{name}: waits for a minute at most: {why}", flush=True)
        said = why
        await asyncio.sleep(AGAIN)


async def _leave(desk: Desk, name: str, host: str, options: Options) -> tuple[str, bool]:
    """Why it is not well elsewhere, or "", and may that pass by itself. Raises StoreError."""
    scene = await look(desk.store)
    try:
        sent = await until_committed(lambda: _send(desk, name, host, options.reason), f"service/{name}")
        if sent.why or not sent.target:
            return sent.why, sent.passes
        print(f"{name}: {sent.source} -> {sent.target}", flush=True)
        if options.wait:
            await _until_ready(desk, scene, name, sent, options)
    except Refused as e:
        return str(e), False
    return "", False


async def _until_ready(desk: Desk, scene: Scene, name: str, sent: Sent, options: Options) -> None:
    """With its steps where one moves at a time. One that has come there and fails may still go back: only its deadline
    tells. Raises Refused, StoreError."""

    async def wait(since: Scene, *, patient: bool) -> str:
        return await watching.until_ready(
            desk.store,
            since,
            name,
            options.timeout,
            live=options.at_once == 1,
            revision=sent.revision,
            primary=sent.target,
            patient=patient,
        )

    try:
        said = await wait(scene, patient=False)
    except Refused:
        scene = await look(desk.store)
        owner = scene.owners().get(name)
        if owner is None or owner.host != sent.target:
            raise
        said = await wait(scene, patient=True)
    if options.at_once > 1:
        print(said, flush=True)


async def _send(desk: Desk, name: str, host: str, reason: str) -> Sent | None:
    """Set `primary` to the first host that could take it. None when somebody else was faster."""
    view = service_view(await look(desk.store), name)
    source = view.owner.host if view.owner else view.wanted
    if not is_there(view, host):
        return Sent(source)
    if view.wanted != host:
        return Sent(source, view.wanted, view.revision)  # on its way already
    view, target, why = await _where(desk, view, host)
    if not target:
        return Sent(source, why=why, passes=view.paused is None and bool(candidates(view, host)))
    document = plain(view.manifest)
    spec = {**document["spec"], "primary": target}
    why = f"{host} is drained{f': {reason}' if reason else ''}"
    audit = desk.audit(f"service/{name}", f"set primary={target}", before=document["spec"], after=spec, why=why)
    key = service_key(name)
    revision = await desk.commit(Txn({key: view.revision}, {key: (to_json({**document, "spec": spec}), 0)}), audit)
    return None if revision is None else Sent(source, target, revision)


async def _where(desk: Desk, view: View, host: str) -> tuple[View, str, str]:
    """The view now, and the host that it can go to; or "" and why there is none."""
    reasons = []
    for target in candidates(view, host):
        if view.owner is not None and view.owner.host == target:
            return view, target, ""
        view, obstacles = await target_obstacles(desk, view, target)
        if not obstacles:
            return view, target, ""
        reasons.append(f"{target} cannot take it: {'; '.join(obstacles)}")
    return view, "", "; ".join(reasons) or f"it may run on no other host (hosts in its spec: {host})"


# -- --dry-run ---------------------------------------------------------------------------------------------------------


async def rehearse(desk: Desk, host: str) -> None:
    """Say what would be done. Raises Refused with UNSAFE when something would stay."""
    scene: Scene = await look(desk.store)
    if host not in scene.hosts():
        raise refuse(Code.WRONG, f"there is no host {host}{nearest(host, scene.hosts())}")
    found = leaving(scene, host)
    stays = dict(found.unreadable)
    for name in found.names:
        view = scene.view(name)
        if view.wanted != host:
            print(f"{name}: is on its way to {view.wanted}")
            continue
        _, target, why = await _where(desk, view, host)
        print(f"{name}: {host} -> {target}" if target else f"{name}: would stay")
        stays |= {} if target else {name: why}
    if stays:
        raise Refused(
            Code.UNSAFE, f"{host} would keep {', '.join(stays)}:\n{listed(stays.items())}\nNothing was changed."
        )
    print(
        f"dry run: nothing was changed; {host} could be drained" if found.names else f"{host} has no exclusive service"
    )
