"""hactl delete: a service is put down in order and then forgotten by its agents, or only forgotten; hosts too."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from reconciler.cli import watching
from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.cli.health import IS_AGENT_RUNNING, health
from reconciler.cli.merge import plain
from reconciler.cli.options import Reason, Timeout, Yes
from reconciler.cli.relations import guests
from reconciler.cli.scene import Scene, look
from reconciler.ownership import View
from reconciler.records import Audit
from reconciler.spec import Deletion, SpecError, nearest, to_json
from reconciler.store import (
    ROOT,
    Entry,
    Txn,
    applied_key,
    epoch_key,
    host_key,
    owner_key,
    service_key,
)


def command(
    name: Annotated[str, typer.Argument(metavar="SERVICE", help="its name; or host/NAME")],
    keep_running: Annotated[bool, typer.Option("--keep-running", help="only forget it: nothing is stopped")] = False,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="until it is gone, with the steps as they happen")] = False,
    timeout: Timeout = None,
    reason: Reason = "",
) -> None:
    """Put a service down on all its hosts, in order, then forget it. Its data stays on its disks.

    \b
    hactl delete nfs --wait
    hactl delete nfs --keep-running      forget it, and leave it running as it is
    hactl delete host/hosta
    """
    kind, _, rest = name.partition("/")
    if rest and kind == "host":
        confirm(f"The host {rest} is forgotten. Go on?", yes=yes)
        at_desk(lambda desk: delete_host(desk, rest, reason))
        return
    if rest and kind != "service":
        raise Refused(Code.WRONG, f"there is no kind {kind}; there are: service, host")
    service = rest or name
    at_desk(lambda desk: _exists(desk, service))
    what = "is forgotten and runs on as it is" if keep_running else "is put down on all its hosts and forgotten"
    confirm(f"The service {service} {what}; its data stays. Go on?", yes=yes)
    at_desk(lambda desk: delete(desk, service, reason, keep_running=keep_running, wait=timeout if wait else 0.0))


def confirm(question: str, *, yes: bool) -> None:
    """Raises Refused unless it was said or is said now."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise refuse(Code.WRONG, "this must be confirmed, and there is no terminal to ask on: add --yes")
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused(Code.WRONG, "Nothing was changed.")


async def _exists(desk: Desk, service: str) -> None:
    scene = await look(desk.store)
    with suppress(SpecError):
        scene.view(service)
    _refuse_with_guests(scene, service)


def _refuse_with_guests(scene: Scene, service: str) -> None:
    if there := guests(scene.service_manifests(), service):
        said = f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} in the container of {service}"
        raise refuse(Code.UNSAFE, said, f"Delete first: hactl delete {there[0]} --wait")


async def delete(
    desk: Desk, service: str, reason: str, *, keep_running: bool = False, wait: float | None = 0.0
) -> None:
    """`wait`: seconds, None for the default, 0 for not at all. Raises Refused, StoreError."""
    scene = await look(desk.store)
    if keep_running:
        print(await until_committed(lambda: _forget(desk, service, reason), f"service/{service}"), flush=True)
        return
    view = await until_committed(lambda: _mark(desk, service, reason), f"service/{service}")
    if wait != 0:
        await _until_gone(desk, scene, view, wait)


async def _mark(desk: Desk, service: str, reason: str) -> View | None:
    """metadata.deleted: the agents put it down, the owner removes the keys last. None when somebody was faster."""
    scene = await look(desk.store)
    view = _view(scene, service)
    _refuse_with_guests(scene, service)
    if view.manifest.metadata.deleted is not None:
        print(f"{service} is being deleted already, by {view.manifest.metadata.deleted.by}", flush=True)
        return view
    if view.paused is not None:
        raise refuse(Code.UNSAFE, view.paused_obstacle, "Then delete it, or only forget it: --keep-running.")
    document = plain(view.manifest)
    audit = desk.audit(f"service/{service}", "delete", before=document["spec"], why=reason)
    mark = Deletion(at=audit.at, by=desk.who).model_dump(mode="json")
    document["metadata"] = {**document["metadata"], "deleted": mark}
    key = service_key(service)
    if await desk.commit(Txn({key: view.revision}, {key: (to_json(document), 0)}), audit) is None:
        return None
    print(f"{service}: its hosts put it down and forget it", flush=True)
    for host in view.manifest.spec.hosts:
        if host not in view.sessions:
            print(f"  this waits for {host}, which has no session: {IS_AGENT_RUNNING}", flush=True)
    return view


def _view(scene: Scene, service: str) -> View:
    try:
        return scene.view(service)
    except SpecError as e:
        said = f"the spec of {service} in etcd is not valid, so no agent can put it down: {e}"
        raise refuse(Code.WRONG, said, "Mend it with hactl apply, or only forget it: --keep-running.") from e


async def _forget(desk: Desk, service: str, reason: str) -> str | None:
    """Remove all keys of it; the agents see it gone and leave what runs as it is. Also where the spec is none."""
    scene = await look(desk.store)
    with suppress(SpecError):
        scene.view(service)
    entry = scene.entry(service_key(service))
    assert entry is not None
    _refuse_with_guests(scene, service)
    audit = desk.audit(f"service/{service}", "delete --keep-running", before=entry.value, why=reason)
    with suppress(SpecError):
        audit = audit.model_copy(update={"before": plain(scene.view(service).manifest)["spec"]})
    keys = [key for key in _keys(scene, service) if scene.entry(key)]
    owner = scene.owners().get(service)
    unchanged = {key: _revision(scene.entry(key)) for key in (service_key(service), owner_key(service))}
    if await desk.commit(Txn(unchanged, {}, tuple(keys)), audit) is None:
        return None
    where = f": it runs on, on {owner.host}. To have it back, apply it with primary: {owner.host}" if owner else ""
    with suppress(SpecError):
        view = scene.view(service)
        where = f": it runs on, on {' and '.join(view.manifest.spec.hosts)}" if view.everywhere and not owner else where
    return f"{service} is forgotten{where}"


def _keys(scene: Scene, service: str) -> list[str]:
    statuses = [f"{ROOT}status/{rest}" for rest, _ in scene.under("status") if rest.partition("/")[0] == service]
    own = [service_key(service), owner_key(service), epoch_key(service), applied_key("service", service)]
    return own + statuses


def _revision(entry: Entry | None) -> int:
    return entry.revision if entry else 0


async def _until_gone(desk: Desk, scene: Scene, view: View, wait: float | None) -> None:
    """With its steps. Raises Refused with NOT_YET."""
    name = view.manifest.metadata.name
    key = service_key(name)

    def state(now: Scene) -> str:
        return f"{name} is not gone: {health(now.view(name)).reason}. It goes on; look: hactl status {name}"

    until = watching.Until(
        done=lambda now, _: "" if now.entry(key) else f"{name} is gone.",
        stuck=lambda now: "",
        state=state,
    )
    patience = wait if wait is not None else view.manifest.spec.deadline + watching.MORE
    print(await watching.watch(desk.store, scene, name, until, patience, live=True))


# -- hosts -------------------------------------------------------------------------------------------------------------


async def delete_host(desk: Desk, host: str, reason: str) -> None:
    """Raises Refused while a service names it."""
    await until_committed(lambda: _delete_host(desk, host, reason), f"host/{host}")
    print(f"host/{host} is forgotten")


async def _delete_host(desk: Desk, host: str, reason: str) -> bool | None:
    scene = await look(desk.store)
    entry = scene.entry(host_key(host))
    if entry is None:
        raise Refused(Code.WRONG, f"there is no host {host}{nearest(host, [name for name, _ in scene.under('hosts')])}")
    for service in scene.services():
        with suppress(SpecError):
            if host in scene.view(service).manifest.spec.hosts:
                said = f"service {service} names host {host}"
                raise refuse(Code.UNSAFE, said, f"Take it out of its hosts first: hactl set {service} hosts='[…]'")
    applied = applied_key("host", host)
    unchanged = {host_key(host): entry.revision, applied: _revision(scene.entry(applied))}
    deletes = tuple(key for key in unchanged if scene.entry(key))
    manifest = scene.host_manifests().get(host)
    before = plain(manifest).get("spec") if manifest else entry.value
    audit: Audit = desk.audit(f"host/{host}", "delete", before=before, why=reason)
    return True if await desk.commit(Txn(unchanged, {}, deletes), audit) is not None else None
