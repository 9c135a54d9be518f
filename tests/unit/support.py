"""What unit tests share: the simulated hosts on virtual time, what real programs printed, a service from few words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from reconciler.ownership import View
from reconciler.records import Owner, Session, Status, Target
from reconciler.sim.clock import simulate
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Domain, Host, World
from reconciler.spec import Deletion, Pause, ServiceManifest, to_json, validate
from resources.kind import AnyPart, Kind, Role, Step, take_apart
from resources.machine import Finished
from resources.registry import KINDS

CAPTURED = Path(__file__).resolve().parents[1] / "captured"

NOW = "2026-11-24T07:00:00.000Z"

P = ParamSpec("P")
T = TypeVar("T")


def captured(name: str) -> str:
    """What the real program printed."""
    return (CAPTURED / name).read_text(encoding="utf-8")


def simulated(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A test that is a coroutine, on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return simulate(test(*args, **kwargs))

    return run


def hosts(*disks: str) -> World:
    """hosta and hostb with these DRBD disks between them, and a container "nfs" defined on both, not running."""
    world = World(("hosta", "hostb"))
    for disk in disks:
        world.add_disk(disk, ("hosta", "hostb"))
    for host in world.hosts.values():
        host.domains["nfs"] = Domain("nfs")
    return world


def machine(host: Host) -> SimMachine:
    """An agent's hands on it."""
    return SimMachine(host, "test", lambda _operation: None)


class Printing(SimMachine):
    """A host on which every program prints this, whatever it is asked."""

    def __init__(self, host: Host, prints: Finished) -> None:
        super().__init__(host, "test", lambda _operation: None)
        self._prints = prints

    async def run(self, *argv: str, timeout: float, domain: str | None = None, stdin: str = "") -> Finished:
        return self._prints


def manifest(name: str = "nfs", **fields: Any) -> ServiceManifest:
    """A service on hosta and hostb in the container nfs, unless `fields` of its spec say otherwise."""
    spec = {"hosts": ["hosta", "hostb"], "container": {"domain": "nfs"}, **fields}
    document = {"apiVersion": "hactl/v1", "kind": "Service", "metadata": {"name": name}}
    found = validate({**document, "spec": {key: value for key, value in spec.items() if value is not None}})
    assert isinstance(found, ServiceManifest)
    return found


def parts(**fields: Any) -> tuple[AnyPart, ...]:
    """A service's parts, in the order in which they come up."""
    return take_apart(manifest(**fields).spec, KINDS)


async def bring(kind: Kind[Any, Any], spec: Any, role: Role, hands: SimMachine) -> list[Step]:
    """Look, plan, run; asserts that another look finds nothing left to do. Returns the steps that were run."""
    steps = kind.plan(spec, role, await kind.observe(spec, hands))
    for step in steps:
        await step.run(hands)
    seen = await kind.observe(spec, hands)
    assert kind.plan(spec, role, seen) == []
    assert [condition.reason for condition in kind.conditions(spec, role, seen) if condition.broken] == []
    return steps


def texts(steps: list[Step]) -> list[str]:
    """The steps in words."""
    return [str(step) for step in steps]


def session(host: str, boot: int = 1) -> Session:
    """That host's agent is alive, in its `boot`th incarnation."""
    return Session(host=host, boot_id=boot_id(host, boot), version="0", since=NOW)


def boot_id(host: str, boot: int = 1) -> str:
    """As the simulated hosts name their incarnations."""
    return f"boot-{host}-{boot}"


def owned(host: str, epoch: int = 7, boot: int = 1, previous: str = "") -> Owner:
    """The owner key of that incarnation."""
    return Owner(host=host, boot_id=boot_id(host, boot), epoch=epoch, since=NOW, previous=previous)


def view(
    owner: Owner | None = None,
    *,
    sessions: str = "hosta hostb",
    deleted: bool = False,
    paused: bool = False,
    **more: Any,
) -> View:
    """What etcd says of the service nfs at revision 10; `fields` are of its spec, the rest of View."""
    found = manifest(**more.pop("fields", {}))
    if deleted:
        gone = found.metadata.model_copy(update={"deleted": Deletion(at=NOW, by="me")})
        found = found.model_copy(update={"metadata": gone})
    if paused:
        left = found.metadata.model_copy(update={"paused": Pause(at=NOW, by="eva", why="new disks")})
        found = found.model_copy(update={"metadata": left})
    facts: dict[str, Any] = {
        "revision": 10,
        "text": to_json(found.model_dump(mode="json", exclude_unset=True)),
        "owner": owner,
        "owner_revision": 8 if owner else 0,
        "sessions": {host: session(host) for host in sessions.split()},
    }
    return View(found, **{**facts, **more})


def ready_target(revision: int = 10, *obstacles: str, unreadable: bool = False) -> Status:
    """What a standby publishes: it could take the service over, or why not."""
    target = Target(ready=not obstacles, revision=revision, obstacles=list(obstacles), unreadable=unreadable)
    return Status(role=Role.STANDBY, state="Standby", since=NOW, revision=revision, target=target)
