"""Which services leave a host, in what order, and where to. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from reconciler.cli.health import is_alive
from reconciler.cli.scene import Scene
from reconciler.ownership import View
from reconciler.spec import SpecError


@dataclass(frozen=True)
class Leaving:
    """In the order in which they leave: names. `needs`: for each, those of them that leave before it. `unreadable`:
    services that the host owns and whose specs are none, with what is wrong."""

    names: tuple[str, ...]
    needs: Mapping[str, frozenset[str]]
    unreadable: Mapping[str, str]


def leaving(scene: Scene, host: str) -> Leaving:
    """The exclusive services that the host owns or is to have."""
    views: dict[str, View] = {}
    unreadable: dict[str, str] = {}
    owners = scene.owners()
    for name in scene.services():
        try:
            view = scene.view(name)
        except SpecError as e:
            if name in owners and owners[name].host == host:
                unreadable[name] = f"its spec in etcd is not valid, mend it with hactl apply: {e}"
            continue
        if not view.everywhere and is_there(view, host):
            views[name] = view
    needs = {name: needed(view.text) & views.keys() for name, view in views.items()}
    return Leaving(ordered(needs), needs, unreadable)


def is_there(view: View, host: str) -> bool:
    """Does the host own it, or is it to?"""
    if view.manifest.metadata.deleted is not None:
        return False
    return view.wanted == host or (view.owner is not None and view.owner.host == host)


def needed(text: str) -> frozenset[str]:
    """The services that a spec as it stands in etcd names in `container: {of: …}` and `after:`: a name, or a list of
    names or of mappings with `service`."""
    spec = json.loads(text).get("spec", {}) if text else {}
    after = spec.get("after") or []
    said = [(spec.get("container") or {}).get("of"), *(after if isinstance(after, list) else [after])]
    names = [one.get("service") if isinstance(one, dict) else one for one in said]
    return frozenset(name for name in names if isinstance(name, str))


def ordered(needs: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """By name, but what is needed first. Those of a circle, which should not be, by name."""
    left, done = sorted(needs), list[str]()
    while left:
        free = [name for name in left if not set(needs[name]) & set(left) - {name}]
        done.append((free or left)[0])
        left.remove(done[-1])
    return tuple(done)


def candidates(view: View, host: str) -> list[str]:
    """Where it may go, best first: the living host that has it already, or the spec's others in its order."""
    if view.owner is not None and view.owner.host != host and is_alive(view, view.owner):
        return [view.owner.host]
    return [one for one in view.manifest.spec.hosts if one != host]


def homes(scene: Scene, host: str) -> list[str]:
    """Services that prefer the host and are elsewhere."""
    found = []
    for name in scene.services():
        with suppress(SpecError):
            view = scene.view(name)
            moves = not view.everywhere and not view.reads
            if moves and view.manifest.spec.hosts[0] == host and view.wanted != host:
                found.append(name)
    return found


def listed(reasons: Iterable[tuple[str, str]]) -> str:
    """A line each: `  git: why`."""
    return "\n".join(f"  {name}: {why}" for name, why in reasons)
