"""Modes, pure: what a spec of each mode may say, and which change of mode is safe.

`exclusive` is on one host at a time, by the owner key. `everywhere` is on all of its hosts at once: it has no owner, so
nothing of it may be what only one host can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EVERYWHERE = "everywhere"
OF_A_MOVE = ("primary", "failover", "deadline", "gates")  # words about who has it and how that changes


def check(spec: Any) -> None:
    """A service's spec, its fields each valid by itself. Raises ValueError with what to write instead."""
    if spec.container is not None and spec.container.of is not None:
        _check_guest(spec)
    if spec.mode == EVERYWHERE:
        _check_everywhere(spec)
        return
    if placed := [one.address for one in getattr(spec, "addresses", ()) if one.host is not None]:
        raise ValueError(
            f"address {placed[0]} names a host, and it goes where the service goes: leave its host out "
            "(a host is for mode: everywhere)"
        )


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
