"""Addresses: where clients find the service, in the container's network namespace. IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface
from ipaddress import ip_interface as _parsed
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Address, InUse, Machine, MachineError
from resources.words import Interface, InterfaceAddress, Name, once

DUPLICATE = "duplicate"  # beside the kernel's words in an Address's flags: see AddressKind
WAY_OUT = "find that machine, by the port at which the switch knows it, and take the address from it"


class AddressField(Model):
    """An address with its prefix length, and the interface that has it, in the container. `host`: the one that has it,
    of a service that is everywhere."""

    address: InterfaceAddress
    interface: Interface = "eth0"
    host: Name | None = None


@lru_cache(maxsize=4096)
def ip_interface(address: str) -> IPv4Interface | IPv6Interface:
    """The same few are read several times in each pass."""
    return _parsed(address)


def _ip(field: AddressField) -> str:
    return str(ip_interface(field.address).ip)


class AddressSpec(AddressField):
    """`domain` None: an interface of the host itself."""

    domain: str | None = None


@dataclass(frozen=True)
class Add(Step):
    """Not while another machine answers for it. IPv4: the neighbours are asked before it is added. IPv6: afterwards,
    while it is tentative and answers nobody (RFC 4862 5.4); one that fails does not stay."""

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
        tentative_at_first = ip_interface(self.spec.address).version == 6
        if not tentative_at_first:
            await self._ask(machine)
        await machine.add_address(*where)
        try:
            if tentative_at_first:  # the kernel, which takes a second or two, does not say who answers
                await self._ask(machine)
            await machine.announce(*where)
        except MachineError:
            if tentative_at_first:  # not known to be free, or never announced
                await machine.remove_address(*where)
            raise

    async def _ask(self, machine: Machine) -> None:
        interface, address = self.spec.interface, self.spec.address
        if rival := await machine.rival(self.spec.domain, interface, address):
            raise InUse(f"{_ip(self.spec)} is in use by {rival} on {interface}: {WAY_OUT}")


@dataclass(frozen=True)
class Announce(Step):
    """The neighbours have heard something else of it."""

    spec: AddressSpec
    exclusive = True

    def __str__(self) -> str:
        return f"announce {self.spec.address} on {self.spec.interface}"

    @property
    def done(self) -> str:
        return f"{self.spec.address} announced"

    async def run(self, machine: Machine) -> None:
        await machine.announce(self.spec.domain, self.spec.interface, self.spec.address)


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
    """`addresses: [{address: 192.0.2.10/24, interface: eth0}]`; seen: wherever the same IP address is, DUPLICATE among
    its flags where `rival`, another machine, was asked and answers for it too."""

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

    def belongs(self, spec: AddressSpec, host: str) -> bool:
        return spec.host in (None, host)

    async def observe(self, spec: AddressSpec, machine: Machine) -> tuple[Address, ...]:
        wanted = ip_interface(spec.address).ip
        found = [one for one in await machine.addresses(spec.domain) if ip_interface(one.address).ip == wanted]
        return tuple([await _asked(spec, one, machine) for one in found])

    def plan(self, spec: AddressSpec, role: Role, seen: tuple[Address, ...]) -> list[Step]:
        if role is not Role.ACTIVE:
            return [Remove("this host is not to have it", spec, one.interface, one.address) for one in seen]
        steps: list[Step] = [
            Remove(_wrong(spec, one), spec, one.interface, one.address) for one in seen if _wrong(spec, one)
        ]
        right = [one for one in seen if not _wrong(spec, one)]
        if not right and not any(DUPLICATE in one.flags for one in seen):  # else adding it at once would be in vain
            steps.append(Add("it is missing" if not seen else "the one that was there was wrong", spec))
        steps += [Announce(_claimed(one), spec) for one in right if one.rival]
        return steps

    def conditions(self, spec: AddressSpec, role: Role, seen: tuple[Address, ...]) -> list[Condition]:
        if role is not Role.ACTIVE:
            return [Condition(f"address {one.address} is on {one.interface}") for one in seen]
        found = [
            Condition(f"address {one.address} {_wrong(spec, one)}", cause=_cause(one))
            for one in seen
            if _wrong(spec, one)
        ]
        if not seen:
            found.append(Condition(f"address {spec.address} is missing on {spec.interface}"))
        if any("tentative" in one.flags and not _wrong(spec, one) for one in seen):
            found.append(Condition(f"address {spec.address} is being checked for duplicates"))
        claimed = [one for one in seen if one.rival and not _wrong(spec, one)]
        return found + [Condition(f"address {one.address}: {_claimed(one)}", broken=False) for one in claimed]

    def wants(self, spec: AddressSpec, role: Role) -> str:
        return f"on {spec.interface}" if role is Role.ACTIVE else "absent"

    def says(self, spec: AddressSpec, seen: tuple[Address, ...]) -> str:
        shown = [
            " ".join([f"on {one.interface}", *sorted(one.flags & {"tentative", "dadfailed", DUPLICATE})])
            for one in seen
        ]
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
    if DUPLICATE in one.flags:
        return f"is in use by {one.rival} on {one.interface}: {WAY_OUT}"
    return "is in use by another machine (duplicate address detection)" if "dadfailed" in one.flags else ""


def _cause(one: Address) -> str:
    """Why it cannot stay, where somebody else is why, or ""."""
    if DUPLICATE in one.flags:
        return f"in use by {one.rival}"
    return "duplicate address detection" if "dadfailed" in one.flags else ""


def _claimed(one: Address) -> str:
    return f"{one.rival} said that it has it, and does not answer for it"


async def _asked(spec: AddressSpec, one: Address, machine: Machine) -> Address:
    """What somebody said, or duplicate address detection, is believed of the one that answers."""
    if not one.rival and "dadfailed" not in one.flags:
        return one
    rival = await machine.rival(spec.domain, one.interface, one.address)
    return replace(one, rival=rival, flags=one.flags | {DUPLICATE}) if rival else one
