"""hactl plan: the steps that a move would take on each host, by what the hosts last saw. Nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.health import is_alive, proof_pending
from reconciler.cli.merge import plain
from reconciler.cli.options import ServiceName
from reconciler.cli.scene import look
from reconciler.cli.set_ import changed, check_hosts, service_view, target_obstacles
from reconciler.ownership import View


def command(
    service: ServiceName,
    change: Annotated[str, typer.Argument(metavar="primary=HOST", help="where it would go")],
) -> None:
    """Show the steps of each host that a move would take. Nothing is done.

    \b
    hactl plan nfs primary=hostb
    """
    print("\n".join(at_desk(lambda desk: plan(desk, service, change))))


async def plan(desk: Desk, service: str, change: str) -> list[str]:
    """The lines. Raises Refused, StoreError."""
    if not change.startswith("primary="):
        raise Refused(Code.WRONG, f"hactl plan shows moves: hactl plan {service} primary=HOST, not {change!r}")
    scene = await look(desk.store)
    view = service_view(scene, service)
    after = changed(plain(view.manifest), [change])
    check_hosts(scene, view, after)
    target = after.spec.wanted
    if view.owner is not None and view.owner.host == target:
        return [f"{service} is on {target} already (epoch {view.owner.epoch}): there is nothing to do."]
    view, obstacles = await target_obstacles(desk, view, target)
    return [*lines(view, target), "", verdict(view, target, obstacles), "Nothing was done."]


def lines(view: View, target: str) -> list[str]:
    """What each host would do, in order. Pure."""
    name = view.manifest.metadata.name
    found = [f"{name}: {view.owner.host} -> {target}" if view.owner else f"{name}: nobody -> {target}"]
    if view.owner is not None and is_alive(view, view.owner):
        source = view.statuses.get(view.owner.host)
        found += ["", f"{view.owner.host} asks its engine to switch over to {target}"] if view.follows else []
        found += ["", f"{view.owner.host} puts it down:", *_steps(source.would_release if source else None)]
        found += [f"  then it gives up epoch {view.owner.epoch}"]
    elif view.owner is not None:
        found += ["", f"{view.owner.host} is away: it must be proven dead first"]
    epoch = max(view.epoch.epoch if view.epoch else 0, view.owner.epoch if view.owner else 0) + 1
    there = view.statuses.get(target)
    found += ["", f"{target} becomes the owner (epoch {epoch}) and brings it up:"]
    found += _steps(there.would_take if there else None)
    return [*found, "  then it is looked at again, with its checks, until it is Ready"]


def _steps(steps: Sequence[str] | None) -> list[str]:
    if steps is None:
        return ["  this host has said nothing of it yet"]
    return [f"  {number:2} {step}" for number, step in enumerate(steps, 1)] or ["  nothing: it is so already"]


def verdict(view: View, target: str, obstacles: Sequence[str]) -> str:
    """Could it be now? Pure."""
    name, deadline = view.manifest.metadata.name, view.manifest.spec.deadline
    back = ""
    if view.owner is not None and not view.follows:
        back = f"; not Ready within {deadline:g} s, it would go back to {view.owner.host}"
    if obstacles:
        return f"It is blocked now: {target} cannot take {name}: {'; '.join(obstacles)}"
    if view.owner is not None and not is_alive(view, view.owner) and not view.death(view.owner):
        away = view.owner.host
        if proof := proof_pending(view):
            return f"It waits for a proof that {away} is down: {proof}."
        return (
            f"It is blocked now: nothing proves that {away} is down. If you know that it is: hactl confirm-dead {away}"
        )
    return f"{target} could take it now{back}."
