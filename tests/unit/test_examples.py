"""Every example loads, and says what the tests and the lab rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import manifests
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
