"""A whole site in the lab: every example with its daemon, its clients on the witness, and what those saw.

The lab must be one for a site: HACTL_LAB_SITE=1. For tests/site; standard library only.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.lab import rig

EXAMPLES = rig.HERE.parent
EVERYWHERE = ("ldap", "dns", "web", "patroni")
EXCLUSIVE = ("nfs", "dhcp", "tftp", "git", "hg", "ci", "queue", "login")
MOVED = (*EXCLUSIVE, "postgres")  # what has a primary that somebody may say
FOLLOWS = ("postgres", "postgres-read")
SERVICES = (*EVERYWHERE, *EXCLUSIVE, *FOLLOWS)
# By clients; postgres by two kinds.
USED = (*(name for name in SERVICES if name != "patroni"), "pgbench")
FILES = tuple(name for name in SERVICES if name not in ("patroni", "postgres-read"))  # examples/NAME.yaml
LOG = "/run/site-client.log"
RESOLVED_BY = "nameserver 192.0.2.53\nnameserver 192.0.2.54\n"
UNIT = "site-client"
# What every site has before any of this: the people, and the names.
ENTRIES = """dn: dc=site,dc=example
objectClass: dcObject
objectClass: organization
dc: site
o: The site

dn: ou=uses,dc=site,dc=example
objectClass: organizationalUnit
ou: uses

dn: ou=dns,dc=site,dc=example
objectClass: organizationalUnit
ou: dns

dn: dc=site,ou=dns,dc=site,dc=example
objectClass: dNSDomain2
objectClass: domainRelatedObject
dc: site
associatedDomain: site.example
nSRecord: ns1.site.example
sOARecord: ns1.site.example hostmaster.site.example 1 3600 600 86400 60

dn: dc=www,dc=site,ou=dns,dc=site,dc=example
objectClass: dNSDomain2
objectClass: domainRelatedObject
dc: www
associatedDomain: www.site.example
aRecord: 192.0.2.12
aRecord: 192.0.2.13
"""
ADMIN = ("-x", "-D", "cn=admin,dc=site,dc=example", "-w", "lab")


def manifests() -> str:
    """All of them, as one file."""
    return "\n---\n".join((EXAMPLES / f"{name}.yaml").read_text() for name in FILES)


def provision(into: Path) -> None:
    """Disks, filesystems, containers, daemons' configurations; `into`: a folder for the manifests as one file."""
    assert os.environ.get("HACTL_LAB_SITE"), "a lab for a site: HACTL_LAB_SITE=1"
    path = into / "site.yaml"
    path.write_text(manifests())
    rig.show("provision", str(path))
    for host in (*rig.HOSTS, "witness"):  # who waits for a name waits for these
        rig.on(host, "sh", "-c", f"rm -f /etc/resolv.conf; printf '{RESOLVED_BY}' >/etc/resolv.conf")


def states() -> dict[str, dict[str, Any]]:
    """By service: its entry of `hactl status -o json`. Empty while etcd does not answer."""
    done = rig.hactl("status", "-o", "json", check=False)
    try:
        return {one["service"]: one for one in json.loads(done.stdout)["services"]}
    except ValueError:
        return {}


def all_ready(host: str | None = None, seconds: float = 300, *, targets: bool = True) -> dict[str, dict[str, Any]]:
    """Waits until all are Ready, what has a primary on `host`; with `targets` the other host could take each over."""

    def look() -> dict[str, dict[str, Any]]:
        now = states()
        return {} if missing(now, host, targets=targets) else now

    try:
        found: dict[str, dict[str, Any]] = rig.until("the site is Ready", look, seconds, every=3)
    except rig.LabError as e:
        raise rig.LabError(f"{e}; not so: {'; '.join(missing(states(), host, targets=targets))}") from e
    return found


def missing(now: dict[str, dict[str, Any]], host: str | None, *, targets: bool) -> list[str]:
    """In words, of each service that is not as it should be."""
    found = [f"{name} is not told of" for name in SERVICES if name not in now]
    for name, one in sorted(now.items()):
        if one["state"] != "Ready":
            found.append(f"{name} is {one['state']}: {one['reason']}")
        elif name in MOVED and host is not None and one["owner"] != host:
            found.append(f"{name} is on {one['owner']}")
        elif name in MOVED and targets and not any(each["ready"] for each in one["targets"].values()):
            found.append(f"{name} has nowhere to go")
    return found


def seed() -> None:
    """What the site has from the beginning: entries in LDAP, dhcpd's configuration in git. Fine when there already."""
    rig.until("LDAP takes the first entries", _entries, 60)
    push = "git -C /srv/ct/dns/root/etc/dhcp/site push --quiet origin main"
    rig.until(
        "git takes dhcpd.conf",
        lambda: rig.lab("exec", "hosta", "--", "sh", "-c", push, check=False).returncode == 0,
        60,
    )


def _entries() -> bool:
    argv = ("ldapadd", *ADMIN, "-c", "-H", "ldap://192.0.2.38")
    return rig.lab("exec", "witness", "--", *argv, stdin=ENTRIES, check=False).returncode in (0, 68)  # there already


@dataclass
class Clients:
    """All clients on the witness."""

    names: Sequence[str] = USED

    def begin(self) -> None:
        rig.lab("copy", str(rig.TOOLS / "site_client.py"), "witness:/run/site_client.py")
        rig.lab("copy", "/run/hactl-lab/key", "witness:/run/site-key")
        rig.Client().mount()
        unit = ("systemd-run", "--quiet", "--collect", f"--unit={UNIT}")
        rig.on("witness", *unit, "python3", "/run/site_client.py", "run", LOG, *self.names)
        self.all_used(seconds=180)

    def end(self) -> None:
        rig.lab("exec", "witness", "--", "systemctl", "kill", "-s", "KILL", UNIT, check=False)
        rig.lab("exec", "witness", "--", "umount", "-fl", rig.MOUNTED, check=False)

    def now(self) -> float:
        """Seconds on the clients' clock."""
        return rig.Client().now()

    def acknowledged(self) -> dict[str, list[float]]:
        """By service: when each use ended."""
        found: dict[str, list[float]] = {name: [] for name in self.names}
        for line in rig.on("witness", "sh", "-c", f"cat {LOG} || true").splitlines():
            word, name, *rest = line.split(" ")
            if word == "ack" and len(rest) == 3 and name in found:
                found[name].append(float(rest[2]))
        return found

    def all_used(self, seconds: float = 120) -> None:
        """Waits until each service has been used twice from now on."""
        since = self.now()

        def unused() -> list[str]:
            uses = self.acknowledged()
            return [name for name in self.names if sum(at > since for at in uses[name]) < 2]

        try:
            rig.until("every client is served", lambda: not unused(), seconds, every=4)
        except rig.LabError as e:
            raise rig.LabError(f"{e}; not so: {', '.join(unused())}; they say:\n{self.errors()}") from e

    def errors(self) -> str:
        """The last ones."""
        return rig.on("witness", "sh", "-c", f"grep ^error {LOG} | tail -n 20")

    def outages(self, since: float, until: float) -> dict[str, float]:
        """By service: the longest time between these moments without an acknowledged use."""
        found = {}
        for name, ends in self.acknowledged().items():
            moments = [since, *(at for at in ends if since < at < until), until]
            found[name] = max(b - a for a, b in itertools.pairwise(moments))
        return found

    def verify(self) -> dict[str, dict[str, Any]]:
        """What was acknowledged with what is there; they go on meanwhile."""
        found: dict[str, dict[str, Any]] = json.loads(
            rig.on("witness", "python3", "/run/site_client.py", "verify", LOG, *self.names)
        )
        return found


@contextmanager
def used() -> Iterator[Clients]:
    """All of the site in use; ended whatever happens."""
    clients = Clients()
    try:
        clients.begin()
        yield clients
    finally:
        clients.end()
