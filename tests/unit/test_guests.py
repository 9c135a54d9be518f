"""Where the parts of a guest live, and which services cannot have one."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.applied import parts_of
from reconciler.cli.relations import guests, problems
from reconciler.guests import domain_of, keeper_of
from reconciler.spec import ServiceManifest, SpecError, to_json
from tests.unit.support import manifest

EVERYWHERE: dict[str, Any] = {"mode": "everywhere", "container": {"domain": "dns-ct"}}
DNS = manifest("dns", **EVERYWHERE)
DHCP = manifest("dhcp", container={"of": "dns"}, units=["dhcpd.service"], disks=[{"resource": "leases", "mount": "/l"}])


def text(one: ServiceManifest) -> str:
    return to_json(one.model_dump(mode="json", exclude_unset=True))


def test_its_parts_live_in_the_domain_of_the_other() -> None:
    domain = domain_of(DHCP, {"dns": text(DNS)}.get)
    assert domain == "dns-ct"
    parts = {part.id: part for part in parts_of(text(DHCP), domain)}
    assert sorted(parts) == ["disk/leases", "guest/dns", "mount//l", "unit/dhcpd.service"]
    assert parts["unit/dhcpd.service"].spec.domain == parts["mount//l"].spec.domain == "dns-ct"


def test_what_has_its_own_asks_nobody() -> None:
    assert domain_of(DNS, lambda _: None) == "dns-ct"
    assert domain_of(manifest(container=None), lambda _: None) is None
    assert (keeper_of(DHCP), keeper_of(DNS), keeper_of(manifest(container=None))) == ("dns", "", "")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (None, "there is no service dns: apply it, or name one that is there"),
        ("{", "the spec of dns is not valid: is not JSON"),
        (text(manifest("dns")), "dns is on one host at a time, and what moves as one is one service: write the units"),
        (text(manifest("dns", mode="everywhere", container=None)), "dns has no container"),
        (text(manifest("dns", container={"of": "web"})), "dns is itself in the container of web: write of: web"),
        (text(manifest("dns", container={"of": "dhcp"})), "dns is in the container of dhcp and dhcp in that of dns"),
        (text(DHCP).replace('"dhcp"', '"dns"'), "dns is itself in the container of dns"),
    ],
)
def test_a_service_that_cannot_have_it_is_a_clear_condition(other: str | None, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        domain_of(DHCP, lambda name: other)
    assert str(caught.value).startswith(f"spec.container.of: {sentence}")


def test_it_may_only_come_where_the_other_is() -> None:
    more = manifest("dhcp", hosts=["hostb", "hostc"], container={"of": "dns"})
    said = "dhcp may come to hostc, and its container is that of dns, which is on hosta, hostb only"
    assert problems({"dns": DNS, "dhcp": more}, ["dhcp"]) == [("dhcp", said)]
    assert problems({"dns": DNS, "dhcp": more}, ["dns"]) == [("dhcp", said)]
    assert problems({"dns": DNS, "dhcp": more}, ["nfs"]) == []
    assert problems({"dns": DNS, "dhcp": DHCP}, ["dns", "dhcp"]) == []
    assert guests({"dns": DNS, "dhcp": DHCP}, "dns") == ["dhcp"]
