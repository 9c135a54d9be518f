"""hactl confirm-dead: a human says that a host is down, where nothing else can prove it."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.delete import confirm
from reconciler.cli.desk import Desk, at_desk, until_committed
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.cli.hosts import evidence
from reconciler.cli.options import Yes
from reconciler.cli.scene import Scene, look
from reconciler.cli.screen import moment
from reconciler.records import Death
from reconciler.spec import nearest
from reconciler.store import Txn, death_key, owner_key, session_key


def command(
    host: Annotated[str, typer.Argument(metavar="HOST", help="that is down")],
    yes: Yes = False,
    reason: Annotated[str, typer.Option(help="how you know, for the audit")] = "",
) -> None:
    """Say that a host is down and holds nothing any more: the services it owned may be taken over.

    Look first: is it off, is its plug pulled? If it still runs, two hosts have the same addresses and write to
    their own copies of the same disks. It is refused while the host is known to live.

    \b
    hactl status hosta                (what speaks for it and against it)
    hactl confirm-dead hosta --reason "its power supply is on my desk"
    """
    print("\n".join(at_desk(lambda desk: believed(desk, host))))
    confirm(f"Is {host} down?", yes=yes)
    print(at_desk(lambda desk: until_committed(lambda: confirm_dead(desk, host, reason), f"host/{host}")))


async def check(desk: Desk, host: str) -> list[str]:
    """The services whose owner it is. Raises Refused when it is alive, or when there is nothing to confirm."""
    return _owned(await look(desk.store), host)


async def believed(desk: Desk, host: str) -> list[str]:
    """What will be believed, of whom, and what is known of it. Raises Refused like `check`."""
    scene = await look(desk.store)
    owned = _owned(scene, host)
    owners = scene.owners()
    found = [f"You say that {host} is down. Then it is believed that it holds nothing of:"]
    found += [
        f"  {name}, which it owns in epoch {owners[name].epoch} since {moment(owners[name].since)}, "
        f"in its boot {owners[name].boot_id}"
        for name in owned
    ]
    if known := evidence(scene, host):
        found += ["What is known of it:", *(f"  {clause}" for clause in known)]
    return [
        *found,
        "If it still runs, what these services write from now on is lost or torn. Look at the machine first.",
    ]


def _owned(scene: Scene, host: str) -> list[str]:
    if host not in scene.hosts():
        raise Refused(Code.WRONG, f"there is no host {host}{nearest(host, scene.hosts())}")
    if host in scene.sessions():
        said = f"{host} is alive: its agent has a session"
        raise refuse(Code.UNSAFE, said, "To move a service away from it: hactl set SERVICE primary=HOST")
    owned = sorted(name for name, owner in scene.owners().items() if owner.host == host)
    if not owned:
        raise refuse(Code.WRONG, f"{host} owns no service, so nothing waits for this")
    if witness := next((peer for name in owned for peer in _promised(scene, name, host)), ""):
        said = f"{host} lives: it runs without etcd, and {witness} has heard from it within its last promise"
        raise refuse(Code.UNSAFE, said, _instead(host, witness))
    return owned


def _instead(host: str, witness: str) -> str:
    return (
        f"To move a service away from it: hactl set SERVICE primary={witness} (an automatic one gets no promise "
        f"any more then, and {host} puts it down), mend its way to etcd, or power {host} off."
    )


def _promised(scene: Scene, service: str, host: str) -> list[str]:
    """Hosts that keep a promise to that one at this moment."""
    return [
        peer
        for peer, status in sorted(scene.statuses(service).items())
        if peer in scene.sessions()
        and status.witness is not None
        and status.witness.host == host
        and status.witness.promised
    ]


async def confirm_dead(desk: Desk, host: str, reason: str) -> str | None:
    """A death for each incarnation that an owner key names; compares that it has no session still, and owns the same.

    None when something of that has changed meanwhile.
    """
    scene = await look(desk.store)
    owned = _owned(scene, host)
    boots = sorted({scene.owners()[name].boot_id for name in owned})
    unchanged = {session_key(host): 0}
    for name in owned:
        entry = scene.entry(owner_key(name))
        unchanged[owner_key(name)] = entry.revision if entry else 0
    audit = desk.audit(f"host/{host}", "confirm-dead", after={"boots": boots, "services": owned}, why=reason)
    deaths = [Death(host=host, boot_id=boot, proof="confirmed", by=desk.who, at=audit.at, why=reason) for boot in boots]
    puts = {death_key(host, death.boot_id): (death.line(), 0) for death in deaths}
    if await desk.commit(Txn(unchanged, puts), audit) is None:
        return None
    return f"{host} counts as dead. Its services go where you say: hactl set {owned[0]} primary=HOST"
