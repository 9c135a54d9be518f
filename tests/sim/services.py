"""The services that the simulations keep."""

from __future__ import annotations

from typing import Any

from reconciler.spec import ServiceManifest, validate


def service(name: str, **changes: Any) -> ServiceManifest:
    """A container with two disks, an IPv4 and an IPv6 address, two units and a check; fields of `spec` as changed."""
    number = sum(name.encode()) % 100 + 10
    spec = {
        "hosts": ["hosta", "hostb"],
        "primary": "hosta",
        "container": {"domain": name},
        "disks": [
            {"resource": f"{name}-data", "mount": "/srv/data"},
            {"resource": f"{name}-state", "mount": "/srv/state"},
        ],
        "addresses": [{"address": f"192.0.2.{number}/24"}, {"address": f"2001:db8::{number}/64"}],
        "units": [f"{name}-first.service", f"{name}.service"],
        "checks": [{"tcp": 2049}],
        **changes,
    }
    manifest = validate({"apiVersion": "hactl/v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    assert isinstance(manifest, ServiceManifest)
    return manifest


NFS = service("nfs")
GIT = service("git", disks=[{"resource": "git", "mount": "/srv/ct/git", "where": "host"}])
