"""Modes, pure: what a spec of each mode may say, and which change of mode is safe.

`exclusive` is on one host at a time, by the owner key. `everywhere` is on all of its hosts at once: it has no owner, so
nothing of it may be what only one host can have. `follows` is exclusive too, on the host where an engine leads that
decides by itself (Patroni): the engine runs in the container of a service that is everywhere, with this one as a guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EVERYWHERE = "everywhere"
FOLLOWS = "follows"
OF_A_MOVE = ("primary", "failover", "deadline", "gates")  # words about who has it and how that changes


def check(spec: Any) -> None:
    """A service's spec, its fields each valid by itself. Raises ValueError with what to write instead."""
    if spec.container is not None and spec.container.of is not None:
        _check_guest(spec)
    _check_follows(spec)
    if spec.mode == EVERYWHERE:
        _check_everywhere(spec)
        return
    if placed := [one.address for one in getattr(spec, "addresses", ()) if one.host is not None]:
        raise ValueError(
            f"address {placed[0]} names a host, and it goes where the service goes: leave its host out "
            "(a host is for mode: everywhere)"
        )


def _check_follows(spec: Any) -> None:
    engine = getattr(spec, "engine", None)
    if spec.mode != FOLLOWS:
        if engine is not None:
            raise ValueError("engine is for a service that goes where its engine leads: give it mode: follows")
        return
    if engine is None:
        raise ValueError("mode is follows, and what it follows is not said: give it an engine, {patroni: 8008}")
    if spec.container is None or spec.container.of is None:
        raise ValueError(
            "the engine runs on all hosts at once and this service only where it leads: give the engine a service with "
            "mode: everywhere, and this one container: {of: THAT}"
        )
    if disks := getattr(spec, "disks", ()):
        raise ValueError(f"disk {disks[0].resource} is not for mode: follows: the engine replicates its data itself")
    if "failover" in spec.model_fields_set and spec.failover != "automatic":
        raise ValueError("failover is the engine's to decide where mode is follows: leave it out")


def _check_guest(spec: Any) -> None:
    for disk in getattr(spec, "disks", ()):
        if disk.where == "host":
            raise ValueError(
                f"disk {disk.resource} is to be mounted before the container starts (where: host), and that is another "
                f"service's, of: {spec.container.of}: leave where out"
            )


def _check_everywhere(spec: Any) -> None:
    for word in OF_A_MOVE:
        if word in spec.model_fields_set and getattr(spec, word) not in (None, ()):
            raise ValueError(
                f"{word} is for a service that is on one host at a time, and mode is everywhere: it runs on all of "
                f"{', '.join(spec.hosts)}; leave {word} out"
            )
    if disks := getattr(spec, "disks", ()):
        raise ValueError(
            f"disk {disks[0].resource} can be Primary on one host only, and mode is everywhere: "
            "leave disks out, or use mode: exclusive"
        )
    _check_addresses(getattr(spec, "addresses", ()), spec.hosts)


def _check_addresses(addresses: Sequence[Any], hosts: Sequence[str]) -> None:
    for one in addresses:
        if one.host is None:
            raise ValueError(
                f"address {one.address} is for one host, and mode is everywhere: say which, {{address: {one.address}, "
                f"host: {hosts[0]}}}"
            )
        if one.host not in hosts:
            raise ValueError(f"address {one.address} is for {one.host}, which is not one of hosts: {', '.join(hosts)}")


def refusal(service: str, before: str, after: str) -> str:
    """Why the mode may not be changed so while the service is there, with the way out, or "".

    From `exclusive` it may: its owner lets go first. The other way nobody knows that all hosts have let go: one that
    does not hear of it runs on.
    """
    if before != EVERYWHERE or after == EVERYWHERE:
        return ""
    return (
        f"{service} runs on all of its hosts, and one that does not hear of the change would run on beside the "
        f"primary. Delete it first (hactl delete {service} --wait: its hosts put it down and say so), then apply it"
    )
