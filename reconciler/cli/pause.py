"""hactl pause, hactl resume: hands off a service, and on again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused
from reconciler.cli.health import health
from reconciler.cli.merge import plain
from reconciler.cli.options import Reason, bare
from reconciler.cli.scene import look
from reconciler.cli.set_ import service_view
from reconciler.ownership import View
from reconciler.records import Audit
from reconciler.spec import Pause, to_json
from reconciler.store import Txn, service_key

Which = Annotated[str, typer.Argument(metavar="[SERVICE]", help="its name", callback=bare)]
All = Annotated[bool, typer.Option("--all", help="every service there is")]


def pause_command(service: Which = "", everything: All = False, reason: Reason = "") -> None:
    """Hands off: the agents run no step for it, whatever happens to it, until hactl resume.

    Nothing is started, repaired, restarted, moved, given back or taken over, not even after a reboot or with failover:
    automatic. Its drift is still seen and logged; hactl status says Paused.

    \b
    hactl pause nfs --reason "new filesystem on nfs-home"
    hactl pause --all --reason "new switch"
    """
    at_desk(lambda desk: each(desk, service, everything=everything, reason=reason, on=True))


def resume_command(service: Which = "", everything: All = False, reason: Reason = "") -> None:
    """Hands on again: the agents make it as its spec says, at once.

    \b
    hactl resume nfs
    hactl resume --all
    """
    at_desk(lambda desk: each(desk, service, everything=everything, reason=reason, on=False))


async def each(desk: Desk, service: str, *, everything: bool, reason: str, on: bool) -> None:
    """One transaction a service. Raises Refused, StoreError."""
    command = "pause" if on else "resume"
    if bool(service) == everything:
        raise Refused(Code.WRONG, f"say which: hactl {command} SERVICE, or hactl {command} --all")
    names = [service] if service else (await look(desk.store)).services()
    if not names:
        print("There is no service yet: hactl apply -f FILE", flush=True)
    failed: Refused | None = None
    for name in names:
        try:
            await until_committed(lambda name=name: _one(desk, name, reason, on=on), f"service/{name}")  # type: ignore[misc]
        except Refused as e:
            if not everything:
                raise
            failed = failed or e
            print(f"{name}: {e}", flush=True)
    if failed is not None:
        raise Refused(failed.code, f"not all of them could be: hactl {command} --all did what it could, see above")


async def _one(desk: Desk, service: str, reason: str, *, on: bool) -> bool | None:
    """None when somebody else was faster."""
    view = service_view(await look(desk.store), service)
    if (view.paused is not None) == on:
        said = f"is paused already, {view.paused}" if on else "is not paused"
        print(f"{service} {said}; nothing was changed", flush=True)
        return True
    did = "pause" if on else "resume"
    audit = desk.audit(f"service/{service}", did, before=_mark(plain(view.manifest)), why=reason)
    document = _document(view, audit if on else None)
    audit = audit.model_copy(update={"after": _mark(document)})
    key = service_key(service)
    if await desk.commit(Txn({key: view.revision}, {key: (to_json(document), 0)}), audit) is None:
        return None
    for line in _paused(view) if on else _resumed(view):
        print(line, flush=True)
    return True


def _mark(document: Mapping[str, Any]) -> dict[str, Any]:
    """Of a manifest, for the audit: what is there of a pause."""
    return {key: value for key, value in document["metadata"].items() if key == "paused"}


def _document(view: View, audit: Audit | None) -> dict[str, Any]:
    """Its manifest, paused by what the audit record says, or not."""
    document = plain(view.manifest)
    metadata = {key: value for key, value in document["metadata"].items() if key != "paused"}
    if audit is not None:
        metadata["paused"] = Pause(at=audit.at, by=audit.who, why=audit.why).model_dump(mode="json")
    return {**document, "metadata": metadata}


def _paused(view: View) -> list[str]:
    """What becomes of it."""
    name, now = view.manifest.metadata.name, health(view)
    lines = [f"{name} is paused: nothing is done for it until hactl resume {name}"]
    if now.state in ("Moving", "Starting"):
        lines.append(f"  it was {now.state}, and stays half way: {now.reason}")
    if view.automatic:
        lines.append("  nobody takes it over meanwhile, whatever becomes of its host")
    return lines


def _resumed(view: View) -> list[str]:
    name = view.manifest.metadata.name
    where = view.owner.host if view.owner else ""
    goes = f", which means a move from {where} to {view.wanted}" if where and where != view.wanted else ""
    return [f"{name} is resumed: its hosts make it as its spec says{goes} (hactl status {name} --wait)"]
