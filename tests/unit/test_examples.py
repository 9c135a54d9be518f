"""Every example loads, and says what the tests and the lab rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import manifests, relations
from reconciler.spec import HostManifest, ServiceManifest
from resources.words import disks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_loads(path: Path) -> None:
    loaded, problems = manifests.load([path])
    assert problems == []
    assert loaded


def test_all_of_them_go_together() -> None:
    loaded, problems = manifests.load([EXAMPLES])
    assert problems == []
    hosts = {one.manifest.metadata.name for one in loaded if isinstance(one.manifest, HostManifest)}
    for one in loaded:
        if isinstance(one.manifest, ServiceManifest):
            assert set(one.manifest.spec.hosts) <= hosts
    services = {one.manifest.metadata.name: one.manifest for one in loaded if isinstance(one.manifest, ServiceManifest)}
    assert relations.problems(services, services) == []


def test_the_services_of_the_site_are_of_the_modes_that_they_need() -> None:
    loaded = [one.manifest for one in manifests.load([EXAMPLES])[0]]
    modes = {one.metadata.name: one.spec.mode for one in loaded if isinstance(one, ServiceManifest)}
    assert (modes["ldap"], modes["dns"], modes["nfs"]) == ("everywhere", "everywhere", "exclusive")
    (dhcp,) = [one for one in loaded if isinstance(one, ServiceManifest) and one.metadata.name == "dhcp"]
    assert dhcp.spec.container is not None
    assert dhcp.spec.container.of == "dns"
    assert not dhcp.spec.get("prepare")[0].required


def test_nfs_is_what_the_lab_moves() -> None:
    (nfs,) = manifests.load([EXAMPLES / "nfs.yaml"])[0]
    assert isinstance(nfs.manifest, ServiceManifest)
    spec = nfs.manifest.spec
    assert [(disk.resource, disk.mount) for disk in disks(spec)] == [
        ("nfs-home", "/export/home"),
        ("nfs-state", "/var/lib/nfs"),
    ]
    assert [one.address for one in spec.get("addresses")] == ["192.0.2.10/24", "2001:db8::10/64"]
    assert spec.get("units") == ("rpcbind.service", "nfs-server.service")
    assert spec.get("checks")[0].tcp == 2049
    assert spec.get("gates")[0].ping == ("192.0.2.254",)
    assert (spec.primary, spec.deadline) == ("hosta", 120)
