"""Guests, pure: services in another's container (`container: {of: dns}`), and in which domain their parts live thereby.

The other service keeps the container; the guest may be active only where that runs. So the other must be everywhere:
two services that can only move together are what moves as one, and that is one service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler import modes
from reconciler.spec import ServiceManifest, SpecError, parse_service
from resources.kind import ContainerRef

Look = Callable[[str], str | None]  # the text of a service's spec by its name, None where there is none


def keeper_of(manifest: ServiceManifest) -> str:
    """The name of the service whose container it lives in, "" for one with a container of its own or none."""
    container = manifest.spec.container
    return (container.of or "") if container is not None else ""


def domain_of(manifest: ServiceManifest, look: Look) -> str | None:
    """Where its parts live: a domain, None for the host. Raises SpecError where that is nowhere."""
    keeper = keeper_of(manifest)
    if not keeper:
        return manifest.spec.domain
    if why := _unfit(manifest.metadata.name, keeper, look):
        raise SpecError([(("spec", "container", "of"), why)])
    text = look(keeper)
    return parse_service(text).spec.domain if text is not None else None


def _unfit(guest: str, keeper: str, look: Look) -> str:
    """Why the service cannot have a guest, with the way out, or ""."""
    text = look(keeper)
    if text is None:
        return f"there is no service {keeper}: apply it, or name one that is there"
    try:
        return _unfit_spec(guest, parse_service(text))
    except SpecError as e:
        return f"the spec of {keeper} is not valid: {e}"


def _unfit_spec(guest: str, other: ServiceManifest) -> str:
    keeper, outer = other.metadata.name, keeper_of(other)
    if outer == guest:
        return f"{keeper} is in the container of {guest} and {guest} in that of {keeper}: one must have its own"
    if outer:
        return f"{keeper} is itself in the container of {outer}: write of: {outer}"
    if other.spec.domain is None:
        return f"{keeper} has no container"
    if other.spec.mode != modes.EVERYWHERE:
        return (
            f"{keeper} is on one host at a time, and what moves as one is one service: write the units, disks and "
            f"addresses of {guest} into {keeper}, or give {keeper} mode: everywhere"
        )
    return ""


def placed(manifest: ServiceManifest, domain: str | None) -> ServiceManifest:
    """With the domain found, for taking it apart. Never written back."""
    keeper = keeper_of(manifest)
    if not keeper:
        return manifest
    container = ContainerRef.model_construct(of=keeper, domain=domain)
    spec: Any = manifest.spec
    return manifest.model_copy(update={"spec": spec.model_copy(update={"container": container})})
