"""Services that name each other, pure: what no spec says alone. Looked at before a change of any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.afters import leads_back
from reconciler.guests import domain_of, keeper_of
from reconciler.spec import ServiceManifest, SpecError, dotted, to_json

Services = Mapping[str, ServiceManifest]  # as they would be after the change


def problems(services: Services, changed: Iterable[str]) -> list[tuple[str, str]]:
    """(service, sentence) for what is wrong with those that are changed, or thereby with others."""
    names = set(changed)
    touched = {name for name, one in services.items() if names & {name, keeper_of(one)}}
    found = [(name, _nowhere(services, name) or _beyond(services, name)) for name in sorted(touched)]
    found += [(name, _in_a_loop(services, name)) for name in sorted(names & services.keys())]
    return [(name, why) for name, why in found if why]


def _nowhere(services: Services, name: str) -> str:
    """Why a guest has no container to live in, or ""."""

    def text(other: str) -> str | None:
        one = services.get(other)
        return to_json(one.model_dump(mode="json", exclude_unset=True)) if one is not None else None

    try:
        domain_of(services[name], text)
    except SpecError as e:
        return "; ".join(f"{dotted(path)}: {why}" for path, why in e.problems)
    return ""


def _beyond(services: Services, name: str) -> str:
    """Why it may come to a host where its container is not, or ""."""
    keeper = services.get(keeper_of(services[name]))
    if keeper is None:
        return ""
    there, hosts = services[name].spec.hosts, keeper.spec.hosts
    beyond = [host for host in there if host not in hosts]
    of = keeper.metadata.name
    if not beyond:
        return ""
    return f"{name} may come to {beyond[0]}, and its container is that of {of}, which is on {', '.join(hosts)} only"


def _in_a_loop(services: Services, name: str) -> str:
    """Why it would wait for itself in the end, or ""."""
    for one in _after(services, name):
        if leads_back(name, one, lambda other: _after(services, other)):
            return f"after: {one} waits in the end for {name} itself: take one of the two out"
    return ""


def _after(services: Services, name: str) -> list[str]:
    return [one.service for one in services[name].spec.after] if name in services else []


def guests(services: Services, name: str) -> list[str]:
    """Services in the container of that one, sorted."""
    return sorted(guest for guest, one in services.items() if keeper_of(one) == name)
