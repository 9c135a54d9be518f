"""Addresses: where clients find the service, in the container's network namespace. IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Address, Machine
from resources.words import Interface, InterfaceAddress, once


class AddressField(Model):
    """An address with its prefix length, and the interface that has it, in the container."""

    address: InterfaceAddress
    interface: Interface = "eth0"


def _ip(field: AddressField) -> str:
    return str(ip_interface(field.address).ip)


class AddressSpec(AddressField):
    """`domain` None: an interface of the host itself."""

    domain: str | None = None


@dataclass(frozen=True)
class Add(Step):
    """Added, then announced; an IPv6 address once it is no longer tentative (RFC 4862)."""

    spec: AddressSpec
    exclusive = True
    timeout = 20.0

    def __str__(self) -> str:
        return f"add {self.spec.address} to {self.spec.interface}"

    @property
    def done(self) -> str:
        return f"{self.spec.address} added"

    async def run(self, machine: Machine) -> None:
        where = (self.spec.domain, self.spec.interface, self.spec.address)
        await machine.add_address(*where)
        await machine.announce(*where)


@dataclass(frozen=True)
class Remove(Step):
    """From the interface that has it, which may be another than the spec's."""

    spec: AddressSpec
    interface: str
    address: str
    down = True

    def __str__(self) -> str:
        return f"remove {self.address} from {self.interface}"

    @property
    def done(self) -> str:
        return f"{self.address} removed"

    async def run(self, machine: Machine) -> None:
        await machine.remove_address(self.spec.domain, self.interface, self.address)


class AddressKind(Kind[AddressSpec, tuple[Address, ...]]):
    """`addresses: [{address: 192.0.2.10/24, interface: eth0}]`; seen: wherever the same IP address is."""

    name = "address"
    rivals = "systemd-networkd, NetworkManager, dhclient, an admin"
    side_by_side = True
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "addresses": (
            Annotated[
                tuple[AddressField, ...],
                AfterValidator(once(_ip)),
                Field(description="where clients find the service"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[AddressSpec]:
        return tuple(AddressSpec(**one.model_dump(), domain=service.domain) for one in service.get("addresses"))

    def key(self, spec: AddressSpec) -> str:
        return spec.address

    def stage(self, spec: AddressSpec) -> Stage:
        return Stage.ADDRESS

    async def observe(self, spec: AddressSpec, machine: Machine) -> tuple[Address, ...]:
        wanted = ip_interface(spec.address).ip
        return tuple(one for one in await machine.addresses(spec.domain) if ip_interface(one.address).ip == wanted)

    def plan(self, spec: AddressSpec, role: Role, seen: tuple[Address, ...]) -> list[Step]:
        if role is not Role.ACTIVE:
            return [Remove("this host is not to have it", spec, one.interface, one.address) for one in seen]
        steps: list[Step] = [
            Remove(_wrong(spec, one), spec, one.interface, one.address) for one in seen if _wrong(spec, one)
        ]
        if not any(not _wrong(spec, one) for one in seen):
            steps.append(Add("it is missing" if not seen else "the one that was there was wrong", spec))
        return steps

    def conditions(self, spec: AddressSpec, role: Role, seen: tuple[Address, ...]) -> list[Condition]:
        if role is not Role.ACTIVE:
            return [Condition(f"address {one.address} is on {one.interface}") for one in seen]
        found = [Condition(f"address {one.address} {_wrong(spec, one)}") for one in seen if _wrong(spec, one)]
        if not seen:
            found.append(Condition(f"address {spec.address} is missing on {spec.interface}"))
        if any("tentative" in one.flags and not _wrong(spec, one) for one in seen):
            found.append(Condition(f"address {spec.address} is being checked for duplicates"))
        return found

    def wants(self, spec: AddressSpec, role: Role) -> str:
        return f"on {spec.interface}" if role is Role.ACTIVE else "absent"

    def says(self, spec: AddressSpec, seen: tuple[Address, ...]) -> str:
        shown = [" ".join([f"on {one.interface}", *sorted(one.flags & {"tentative", "dadfailed"})]) for one in seen]
        return ", ".join(shown) or "absent"

    def held(self, spec: AddressSpec, seen: tuple[Address, ...]) -> str:
        return f"address {seen[0].address} is on {seen[0].interface}" if seen else ""

    def topics(self, spec: AddressSpec) -> frozenset[str]:
        return frozenset({f"network/{spec.domain or ''}"})


def _wrong(spec: AddressSpec, one: Address) -> str:
    """Why this is not the address that is wanted, as a clause, or ""."""
    if one.interface != spec.interface:
        return f"is on {one.interface} instead of {spec.interface}"
    if ip_interface(one.address) != ip_interface(spec.address):
        return f"has another prefix length than {spec.address}"
    return "is in use by another machine (duplicate address detection)" if "dadfailed" in one.flags else ""
