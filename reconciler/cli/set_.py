"""hactl set: change fields of a service's spec, compared and swapped, refused where it would be nonsense or unsafe."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import yaml

from reconciler.cli import watching
from reconciler.cli.delete import confirm
from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.cli.health import health, is_alive
from reconciler.cli.loss import MISSED, Loss
from reconciler.cli.merge import differences, plain
from reconciler.cli.options import Reason, ServiceName, Timeout, Yes
from reconciler.cli.relations import problems
from reconciler.cli.scene import Scene, look
from reconciler.modes import EVERYWHERE, refusal
from reconciler.ownership import View
from reconciler.spec import ServiceManifest, SpecError, fields_at, nearest, to_json, validate
from reconciler.store import Txn, service_key

SAYING = 5.0  # seconds for a host to say whether it could take a service over
POLL = 0.5
NOTHING = "Nothing was changed."


@dataclass(frozen=True)
class Options:
    """Of one call."""

    reason: str = ""
    dry_run: bool = False
    anyway: bool = False
    accept_data_loss: bool = False


@dataclass(frozen=True)
class Change:
    """What was done: the view before, the spec's revision after (the same when nothing was to be done)."""

    before: View
    after: ServiceManifest
    revision: int
    words: tuple[str, ...]
    loss: tuple[str, ...] = ()  # what is accepted to be lost, in clauses

    @property
    def moves(self) -> bool:
        return self.before.wanted != self.after.spec.wanted and self.after.spec.mode != EVERYWHERE


def command(  # noqa: PLR0913 - options
    service: ServiceName,
    change: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="fields of its spec; KEY= for the default")],
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="until it is Ready, with the steps as they happen")] = False,
    timeout: Timeout = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and say, change nothing")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="also when the new primary is not ready, or it is paused: it waits")
    ] = False,
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="also on copies that lack writes: hactl help data-loss")
    ] = False,
    yes: Yes = False,
) -> None:
    """Change a service: above all, which host is its primary.

    A new primary must say that it is ready; where it is not, nothing is changed. One whose copies lack writes can have
    the service only with --accept-data-loss, while the host with the better copies is away: hactl help data-loss.

    \b
    hactl set nfs primary=hostb --wait
    hactl set nfs primary=hosta --reason "hostb gets new memory"
    hactl set nfs deadline=90 failover=automatic
    hactl set nfs primary=hostb --accept-data-loss --reason "hosta burned down"
    """
    options = Options(reason, dry_run, anyway, accept_data_loss)
    if accept_data_loss:
        if not reason:
            raise refuse(Code.WRONG, "--accept-data-loss needs a --reason, for the audit")
        print("\n".join(at_desk(lambda desk: losses(desk, service, change))))
        confirm(f"Give these writes of {service} up for good?", yes=yes or dry_run)
    at_desk(lambda desk: run(desk, service, change, options, timeout if wait else 0.0))


async def losses(desk: Desk, service: str, change: Sequence[str]) -> tuple[str, ...]:
    """What would be lost by it, in clauses. Raises Refused, StoreError."""
    scene = await look(desk.store)
    view = service_view(scene, service)
    return Loss.of(scene, view, changed(plain(view.manifest), change).spec.wanted).clauses


async def run(desk: Desk, service: str, change: Sequence[str], options: Options, wait: float | None) -> None:
    """`wait`: seconds, None for the default, 0 for not at all. Raises Refused, StoreError."""
    scene = await look(desk.store)
    done = await until_committed(lambda: _set(desk, service, change, options), f"service/{service}")
    _say(service, done, options)
    if wait == 0 or options.dry_run:
        return
    await watching.until_ready(
        desk.store,
        scene,
        service,
        wait,
        revision=done.revision,
        primary="" if done.after.spec.mode == EVERYWHERE else done.after.spec.wanted,
        patient=options.anyway,
    )


async def _set(desk: Desk, service: str, change: Sequence[str], options: Options) -> Change | None:
    """None when somebody else was faster."""
    scene = await look(desk.store)
    view = service_view(scene, service)
    if view.paused is not None and not options.anyway:
        raise refuse(Code.UNSAFE, view.paused_obstacle, f"To have it done then: hactl set {service} … --anyway")
    stands = plain(view.manifest)
    after = changed(stands, change)
    check_hosts(scene, view, after)
    for name, why in problems({**scene.service_manifests(), service: after}, [service]):
        raise refuse(Code.WRONG, f"{name}: {why}")
    if why := refusal(service, view.manifest.spec.mode, after.spec.mode):
        raise refuse(Code.UNSAFE, why)
    words = tuple(differences(stands["spec"], plain(after)["spec"]))
    loss = Loss.of(scene, view, after.spec.wanted) if options.accept_data_loss else Loss()
    done = Change(view, after, view.revision, words, loss.clauses)
    if done.moves and not options.anyway:
        await _check_ready(desk, view, after.spec.wanted, accepted=bool(loss.clauses))
    if options.dry_run or not (words or loss.clauses):
        return done
    key = service_key(service)
    accepted = f" --accept-data-loss ({'; '.join(loss.clauses)})" if loss.clauses else ""
    audit = desk.audit(
        f"service/{service}",
        f"set {' '.join(change)}{accepted}",
        before=stands["spec"],
        after=plain(after)["spec"],
        why=options.reason,
    )
    puts = {key: (to_json(plain(after)), 0)} if words else {}
    revision = await desk.commit(Txn({key: view.revision}, puts).plus(loss.txn), audit)
    if revision is None:
        return None
    return Change(view, after, revision if words else view.revision, words, loss.clauses)


def service_view(scene: Scene, service: str) -> View:
    """Of a service that can be changed. Raises Refused."""
    try:
        view = scene.view(service)
    except SpecError as e:
        said = f"the spec of {service} in etcd is not valid: {e}. Mend it with hactl apply -f FILE"
        raise Refused(Code.WRONG, said) from e
    if view.manifest.metadata.deleted is not None:
        raise refuse(Code.UNSAFE, f"{service} is being deleted")
    return view


# -- KEY=VALUE, pure ---------------------------------------------------------------------------------------------------


def changed(stands: Mapping[str, Any], change: Sequence[str]) -> ServiceManifest:
    """The manifest with the changes. Raises Refused."""
    spec = dict(stands["spec"])
    for one in change:
        path, value = parse(one)
        spec = _put(spec, path, value)
    try:
        manifest = validate({**stands, "spec": spec})
    except SpecError as e:
        raise refuse(Code.WRONG, f"{str(e).removeprefix('spec: ').removeprefix('spec.')}") from e
    assert isinstance(manifest, ServiceManifest)
    return manifest


def parse(text: str) -> tuple[tuple[str, ...], Any]:
    """`container.domain=nfs` -> (("container", "domain"), "nfs"); the value is YAML, None when it is empty.

    Raises Refused.
    """
    key, equals, value = text.partition("=")
    path = tuple(key.strip().removeprefix("spec.").split("."))
    if not equals or not all(path):
        raise refuse(Code.WRONG, f"{text!r} is not KEY=VALUE, such as primary=hostb")
    for depth, word in enumerate(path):
        known = fields_at(ServiceManifest, ("spec", *path[:depth]))
        if word not in known:
            where = f" in {'.'.join(path[:depth])}" if depth else ""
            raise refuse(Code.WRONG, f"there is no field {word}{where}{nearest(word, known)}")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError:
        raise refuse(Code.WRONG, f"the value of {key} is not YAML: {value!r}") from None


def _put(spec: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with the value at the path; None takes the field away, so that its default holds."""
    first, *rest = path
    inner = spec.get(first)
    if rest:
        if isinstance(inner, list):
            said = f"{first} is a list: change it in the manifest and hactl apply it, or give all of it: {first}='[…]'"
            raise refuse(Code.WRONG, said)
        value = _put(inner or {}, tuple(rest), value)
    return {key: each for key, each in {**spec, first: value}.items() if each is not None}


# -- may it be? --------------------------------------------------------------------------------------------------------


def check_hosts(scene: Scene, view: View, after: ServiceManifest) -> None:
    """Raises Refused when a host is named that nobody knows."""
    known = scene.known_hosts() | set(view.manifest.spec.hosts)
    for host in after.spec.hosts:
        if host not in known:
            raise refuse(Code.WRONG, f"there is no host {host}{nearest(host, known)}")


async def _check_ready(desk: Desk, view: View, target: str, *, accepted: bool) -> None:
    """Raises Refused with UNSAFE when the target says that it could not. The owner itself need not say it.

    `accepted`: that its copies lack writes is no obstacle.
    """
    if view.owner is not None and view.owner.host == target and is_alive(view, view.owner):
        return
    name = view.manifest.metadata.name
    view, obstacles = await target_obstacles(desk, view, target)
    obstacles = [one for one in obstacles if not (accepted and MISSED in one)]
    if not obstacles:
        return
    keeps = f"{view.owner.host} keeps {name} until {target} is ready" if view.owner else f"{name} waits for {target}"
    way_out = f"Mend that and try again (hactl status {name}), or say it --anyway: {keeps}."
    raise Refused(Code.UNSAFE, f"refused: {target} cannot take {name}: {'; '.join(obstacles)}\n{NOTHING} {way_out}")


async def target_obstacles(desk: Desk, view: View, target: str) -> tuple[View, list[str]]:
    """The view now, and what the target says of the spec as it stands; a while is given to it to say so."""
    clock = asyncio.get_running_loop().time
    ends = clock() + SAYING
    while not _has_said(view, target) and target in view.sessions and clock() < ends:
        await asyncio.sleep(POLL)
        view = (await look(desk.store)).view(view.manifest.metadata.name)
    return view, view.target_obstacles(target)


def _has_said(view: View, target: str) -> bool:
    status = view.statuses.get(target)
    return status is not None and status.target is not None and status.target.revision == view.revision


def _say(service: str, done: Change, options: Options) -> None:
    for clause in done.loss:
        print(f"{service}: {clause}; they {'would be' if options.dry_run else 'are'} given up", flush=True)
    if not done.words and done.loss:
        print(f"{service}: its spec stays as it is", flush=True)
        return
    if not done.words:
        print(f"{service}: it is so already, nothing was changed", flush=True)
        return
    dry = " (dry run: nothing was changed)" if options.dry_run else ""
    dry += f"; it is paused, so this is done at hactl resume {service}" if done.before.paused else ""
    if not done.moves:
        print(f"{service}: {', '.join(done.words)}{dry}", flush=True)
        return
    others = [word for word in done.words if not word.startswith("primary ")]
    source, target = done.before.owner.host if done.before.owner else done.before.wanted, done.after.spec.wanted
    move = f"{source} -> {target}" if source != target else f"stays on {target}, the move away is called off"
    print(f"{service}: {', '.join([move, *others])}{_why_ready(done, target)}{dry}", flush=True)
    owner = done.before.owner
    if owner is not None and owner.host != target and not is_alive(done.before, owner) and not done.before.death(owner):
        print(f"  it waits: {health(done.before).reason}", flush=True)


def _why_ready(done: Change, target: str) -> str:
    """ready: disks UpToDate, container warm, gates passed"""
    status = done.before.statuses.get(target)
    if done.before.paused is not None or status is None or status.target is None or not status.target.ready:
        return ""
    kinds = {part.partition("/")[0]: one.says for part, one in status.parts.items()}
    warm = "container warm" if kinds.get("container") == "running" else "container defined"
    said = {"disk": "disks UpToDate", "container": warm, "gate": "gates passed"}
    found = [text for kind, text in said.items() if kind in kinds]
    return f"   ready: {', '.join(found)}" if found else ""
