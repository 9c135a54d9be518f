"""What would fail some night, pure: facts -> findings. Loops above all: what an agent needs and what it keeps must not
be the same thing.

`reconciler.cli.doctor` gathers the facts: of etcd and of the site from anywhere, of a host on that host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.ownership import View
from reconciler.records import Session
from reconciler.spec import HostManifest
from resources.drbd import Configured
from resources.machine import Mounted
from resources.words import disks

APART = 3.0  # seconds: an answer's date is in whole seconds, and takes its time
MEMBERS = 3
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "autofs", "fuse.sshfs", "fuse.glusterfs", "9p")
ENABLED = ("enabled", "enabled-runtime", "linked", "linked-runtime")
FENCING, HANDLER = "resource-and-stonith", "hactl fence-peer"
CONFIG = "/etc/hactl/hactl.toml"


@dataclass(frozen=True)
class Finding:
    """`about`: etcd, host/hosta, service/nfs; `what`: the thing; `way_out`: what to do about it."""

    about: str
    what: str
    way_out: str

    def __str__(self) -> str:
        ended = self.what if self.what.endswith((".", "?")) else f"{self.what}."
        return f"{self.about}: {ended} {self.way_out}"


# -- etcd --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """As it answers from here. `trouble`: why it is not healthy, or ""; `ahead`: seconds that its clock is ahead of
    this machine's, None where that is not known."""

    url: str
    trouble: str = ""
    ahead: float | None = None


def etcd(endpoints: Sequence[Endpoint], members: Mapping[str, Sequence[str]] | None) -> Iterator[Finding]:
    """`members`: by name, the machines (addresses or names) that each talks to the others at; None: not known."""
    yield from _by_name(one.url for one in endpoints)
    for one in endpoints:
        if one.trouble:
            yield Finding("etcd", f"{one.url} is not well: {one.trouble}", "systemctl status etcd there")
    if members is None:
        if len(endpoints) < MEMBERS:
            yield Finding("etcd", f"only {len(endpoints)} endpoints are named", f"Name all members in {CONFIG}")
    else:
        yield from _members(members)
    yield from _clocks(endpoints)


def _by_name(urls: Iterable[str]) -> Iterator[Finding]:
    for url in urls:
        host = urlsplit(url).hostname or ""
        if host != "localhost" and not _is_address(host):
            what = f"endpoint {url} is a name: no agent finds etcd while the DNS is away"
            yield Finding("etcd", what, f"Write its address into {CONFIG}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _members(members: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if len(members) < MEMBERS:
        said = "is" if len(members) == 1 else "are"
        what = f"there {said} {len(members)} of the {MEMBERS} members that it takes to outlive one"
        yield Finding("etcd", what, "Add a witness (etcdctl member add)")
    on: dict[str, list[str]] = {}
    for name, machines in sorted(members.items()):
        for machine in sorted(set(machines)):
            on.setdefault(machine, []).append(name)
    for machine, names in sorted(on.items()):
        if len(names) > 1:
            what = f"members {', '.join(names)} are all on {machine}: they go together"
            yield Finding("etcd", what, "Put each on a machine of its own")


def _clocks(endpoints: Sequence[Endpoint]) -> Iterator[Finding]:
    """This machine's own is the one that the others are compared with."""
    for one in endpoints:
        if one.ahead is not None and abs(one.ahead) > APART:
            how = "ahead of" if one.ahead > 0 else "behind"
            what = f"the clock of {one.url} is {abs(one.ahead):.0f} s {how} this machine's"
            yield Finding(
                "etcd", what, "No decision depends on it, but logs and certificates do: chronyc tracking on both"
            )


# -- the site ----------------------------------------------------------------------------------------------------------


def site(
    views: Sequence[View],
    hosts: Mapping[str, HostManifest],
    sessions: Mapping[str, Session],
    words: Mapping[str, Session],
) -> Iterator[Finding]:
    """What etcd tells: of hosts, guards, agents. `words`: what each host's session said last."""
    named = sorted({host for view in views for host in view.manifest.spec.hosts})
    for host in named:
        about = f"host/{host}"
        if host not in hosts:
            yield Finding(about, "there is no manifest of it (kind: Host)", "hactl apply -f hosts.yaml")
        session = sessions.get(host)
        if session is None:
            yield Finding(about, "it has no session", "Is its agent running? (systemctl status hactl-agent there)")
        else:
            yield from (Finding(about, lack, "See docs/takeover.md") for lack in session.lacks)
        yield from _unguarded(host, views, hosts.get(host), session or words.get(host))
    for view in views:
        yield from _alone(view)


def _unguarded(
    host: str, views: Sequence[View], manifest: HostManifest | None, session: Session | None
) -> Iterator[Finding]:
    mine = [view.manifest for view in views if host in view.manifest.spec.hosts]
    names = [one.metadata.name for one in mine if one.spec.automatic]
    paused = [view.manifest.metadata.name for view in views if view.paused is not None]
    fenced = manifest is not None and manifest.spec.fencing is not None
    if not names or fenced or (session is not None and session.watchdog) or set(names) <= set(paused):
        return
    what = f"nothing proves its death, so its automatic services ({', '.join(names)}) are not taken over by themselves"
    yield Finding(f"host/{host}", what, f'watchdog = "/dev/watchdog" in its {CONFIG}, or fencing in its Host spec')


def _alone(view: View) -> Iterator[Finding]:
    name, spec = view.manifest.metadata.name, view.manifest.spec
    if len(spec.hosts) < 2:
        what = f"it may run on {spec.hosts[0]} alone"
        yield Finding(f"service/{name}", what, f"hactl set {name} hosts='[{spec.hosts[0]}, …]'")


def managed_mounts(views: Iterable[View]) -> dict[str, str]:
    """Mount points on hosts that services keep: target -> service."""
    return {
        disk.mount: view.manifest.metadata.name
        for view in views
        for disk in disks(view.manifest.spec)
        if disk.where == "host" and disk.mount is not None
    }


# -- a host ------------------------------------------------------------------------------------------------------------


def lies_on(path: str, mounts: Sequence[Mounted]) -> Mounted | None:
    """The mount that a path is on: the one with the longest target, of several there the last."""
    best: Mounted | None = None
    for one in mounts:
        inside = one.target == "/" or path == one.target or path.startswith(f"{one.target}/")
        if inside and (best is None or len(one.target) >= len(best.target)):
            best = one
    return best


def needed(
    host: str, paths: Mapping[str, str], mounts: Sequence[Mounted], managed: Mapping[str, str]
) -> Iterator[Finding]:
    """`paths`: what the agent, or root on this host, needs (in words) -> where that is, links followed."""
    for what, path in paths.items():
        there = lies_on(path, mounts)
        keeper = next((target for target in managed if path == target or path.startswith(f"{target}/")), "")
        if keeper:
            said = f"{what} ({path}) is on {keeper}, a disk of the service {managed[keeper]} that this agent keeps"
            yield Finding(f"host/{host}", said, "Move it to a disk of the host's own")
        elif there is not None and there.fstype in REMOTE:
            said = f"{what} ({path}) is on {there.fstype} {there.source}: it hangs when that is away"
            yield Finding(f"host/{host}", said, "Move it to a disk of the host's own")


def disk(host: str, resource: str, seen: Configured | None) -> Iterator[Finding]:
    """`seen`: what drbdadm dump says of it; None: it knows none of that name."""
    about = f"host/{host}"
    if seen is None:
        yield Finding(about, f"DRBD knows no resource {resource}", f"Write /etc/drbd.d/{resource}.res on both hosts")
        return
    if seen.fencing != FENCING:
        what = f"disk {resource} has fencing {seen.fencing or 'dont-care'}: a failover may lose writes"
        yield Finding(
            about, what, f"fencing {FENCING}; in its section net (DRBD 8.4: disk), then drbdadm adjust {resource}"
        )
    if HANDLER not in seen.handler:
        what = f"disk {resource} calls {seen.handler or 'nothing'} when it loses its peer: a failover may lose writes"
        way_out = f'handlers {{ fence-peer "/usr/local/bin/{HANDLER}"; }} in it, then drbdadm adjust {resource}'
        yield Finding(about, what, way_out)


def domain(host: str, name: str, *, defined: bool, autostart: bool) -> Iterator[Finding]:
    """Of a container that a service names."""
    if not defined:
        yield Finding(f"host/{host}", f"container {name} is not defined", "virsh -c lxc:/// define its XML here too")
    if autostart:
        what = f"libvirt starts container {name} by itself at boot, whoever is to have it"
        yield Finding(f"host/{host}", what, f"virsh -c lxc:/// autostart --disable {name}")


def unit(host: str, domain: str, name: str, state: str) -> Iterator[Finding]:
    """`state`: what systemctl is-enabled says of it in there."""
    if state in ENABLED:
        what = f"{name} is {state} in container {domain}: it starts by itself, on the standby too"
        yield Finding(f"host/{host}", what, f"In the container: systemctl disable {name}")
