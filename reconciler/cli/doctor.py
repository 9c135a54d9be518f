"""hactl doctor: loops and gaps that would show some night, found beforehand. Nothing is changed.

The facts are gathered here, of etcd and the site from anywhere, of a host on that host. `reconciler.doctor` judges.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from reconciler import doctor, fencing
from reconciler.cli import config as configuration
from reconciler.cli import members
from reconciler.cli.config import Config
from reconciler.cli.desk import Desk, at_desk
from reconciler.cli.errors import Code, Refused
from reconciler.cli.options import EachLine
from reconciler.cli.scene import Scene, look
from reconciler.doctor import Finding
from reconciler.ownership import View
from reconciler.secret import secret
from reconciler.spec import HostManifest, SpecError
from reconciler.store import StoreError
from resources.drbd import configured
from resources.machine import Machine, MachineError
from resources.words import disks

ASKS = 20.0  # seconds a program may take
AUTOSTART = "/etc/libvirt/lxc/autostart"


def command(output: EachLine = None) -> None:
    """Find what would fail some night: a line each, with what to do about it. Nothing is changed.

    Etcd (members, clocks, names), hosts, guards and services are looked at from anywhere. As root on a host also that
    host: disks without our handler, containers and units that start by themselves, fence devices that do not answer,
    secrets that others may read, and what the agent needs lying on what it keeps. So run it on each host.

    \b
    hactl doctor
    sudo hactl doctor
    hactl doctor -o json | jq -r .what
    """
    found, looked = at_desk(lambda desk: examine(desk, configuration.load()))
    for one in found:
        print(json.dumps(asdict(one), ensure_ascii=False) if output is not None else one, flush=True)
    if found:
        raise Refused(Code.UNSAFE, f"{_count(found, 'finding')} ({looked})")
    if output is None:
        print(f"nothing found ({looked})")


async def examine(desk: Desk, config: Config) -> tuple[list[Finding], str]:
    """All that can be seen from here, and what that is. Raises StoreError only where etcd says no."""
    found = list(doctor.etcd(await members.endpoints(config), await members.members(config)))
    looked = ["etcd"]
    scene = None
    try:
        scene = await look(desk.store)
    except StoreError as e:
        found.append(Finding("etcd", str(e), "Hosts and services could not be looked at"))
    if scene is not None:
        found += of_site(scene)
        looked.append(f"{_count(scene.hosts(), 'host')}, {_count(scene.services(), 'service')}")
    if config.host is not None and os.geteuid() == 0:
        found += await _this_host(config, scene)
        looked.append(f"the host {config.host}")
    else:
        looked.append("no host from within: that takes root on it")
    return list(dict.fromkeys(found)), ", ".join(looked)


def _count(things: Sequence[object], what: str) -> str:
    """1 host, 2 hosts"""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def of_site(scene: Scene) -> list[Finding]:
    """What etcd tells."""
    views, found = _views(scene)
    return [*found, *doctor.site(views, scene.host_manifests(), scene.sessions(), scene.words())]


def _views(scene: Scene) -> tuple[list[View], list[Finding]]:
    views, found = [], []
    for name in scene.services():
        try:
            views.append(scene.view(name))
        except SpecError as e:
            found.append(Finding(f"service/{name}", f"its spec in etcd is not valid: {e}", "Mend it with hactl apply"))
    return views, found


async def _this_host(config: Config, scene: Scene | None) -> list[Finding]:
    from reconciler.linux import Linux, missing

    assert config.host is not None
    lacks = [Finding(f"host/{config.host}", lack, "The agent does not start without it") for lack in missing()]
    machine = Linux(config.host)
    try:
        return lacks + await of_host(machine, config, scene, {what: _followed(path) for what, path in paths(config)})
    finally:
        await machine.close()


def paths(config: Config) -> Iterator[tuple[str, str]]:
    """What the agent, or root on its host, needs, and where that is."""
    yield "the agent's program", os.path.abspath(sys.argv[0])
    yield "the agent's Python", sys.prefix
    yield "the agent's configuration", os.environ.get("HACTL_CONFIG") or configuration.DEFAULT
    yield "the key of the failsafe", config.key_file
    yield "the directory of secrets", fencing.SECRETS
    yield "what the agent remembers", "/var/lib/hactl"
    yield "the log", "/var/log"
    yield "etcd's data", "/var/lib/etcd"
    yield "root's home", _home()
    if config.password_file is not None:
        yield "etcd's password", config.password_file
    for path in (config.tls.ca, config.tls.certificate, config.tls.key) if config.tls else ():
        if path is not None:
            yield f"a file of TLS, {Path(path).name}", path


def _home() -> str:
    """Root's, without a name service."""
    with suppress(OSError):
        lines = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
        return next((fields[5] for fields in lines if len(fields) > 5 and fields[2] == "0"), "/root")
    return "/root"


def _followed(path: str) -> str:
    return os.path.realpath(path)


# -- a host, through its Machine ---------------------------------------------------------------------------------------


async def of_host(machine: Machine, config: Config, scene: Scene | None, needs: Mapping[str, str]) -> list[Finding]:
    """`needs`: in words, where it is."""
    views = [view for view in _views(scene)[0] if machine.host in view.manifest.spec.hosts] if scene else []
    hosts = scene.host_manifests() if scene else {}
    try:
        mounts = await machine.mounts(None)
    except MachineError as e:
        return [_unreadable(machine, "the mounts", e)]
    found = list(doctor.needed(machine.host, needs, mounts, doctor.managed_mounts(views)))
    found += _secrets(machine, config, hosts)
    found += await _disks(machine, views)
    found += await _containers(machine, views)
    found += await _fence_devices(machine, hosts)
    return found


def _unreadable(machine: Machine, what: str, e: MachineError) -> Finding:
    return Finding(f"host/{machine.host}", f"{what} cannot be looked at: {e}", "Mend that, and look again")


def _secrets(machine: Machine, config: Config, hosts: Mapping[str, HostManifest]) -> list[Finding]:
    """Files that root alone may read. That the failsafe has no key, the session says."""
    wanted = {config.password_file: "etcd", config.tls.key if config.tls else None: "etcd"}
    if machine.read(config.key_file) is not None:
        wanted[config.key_file] = "the failsafe"
    for name, manifest in sorted(hosts.items()):
        if manifest.spec.fencing is not None and manifest.spec.fencing.secret is not None:
            wanted[f"{fencing.SECRETS}/{manifest.spec.fencing.secret}"] = f"fencing {name}"
    found = []
    for path, purpose in wanted.items():
        try:
            if path is not None:
                secret(machine, path, purpose)
        except MachineError as e:
            found.append(Finding(f"host/{machine.host}", str(e), "The same file belongs on all hosts, mode 600"))
    return found


async def _disks(machine: Machine, views: Sequence[View]) -> list[Finding]:
    found: list[Finding] = []
    for name in sorted({disk.resource for view in views for disk in disks(view.manifest.spec)}):
        try:
            done = await machine.run("drbdadm", "dump", name, timeout=ASKS)
        except MachineError as e:
            found.append(_unreadable(machine, f"disk {name}", e))
            continue
        found += doctor.disk(machine.host, name, configured(done.out))
    return found


async def _containers(machine: Machine, views: Sequence[View]) -> list[Finding]:
    found: list[Finding] = []
    for name in sorted({view.manifest.spec.domain for view in views if view.manifest.spec.domain}):
        try:
            there = await machine.container(name)
        except MachineError as e:
            found.append(_unreadable(machine, f"container {name}", e))
            continue
        autostart = machine.read(f"{AUTOSTART}/{name}.xml") is not None
        found += doctor.domain(machine.host, name, defined=there.defined, autostart=autostart)
        if there.running:
            found += await _units(machine, name, _units_in(views, name))
    return found


def _units_in(views: Iterable[View], domain: str) -> list[str]:
    return sorted(
        {unit for view in views if view.manifest.spec.domain == domain for unit in view.manifest.spec.get("units")}
    )


async def _units(machine: Machine, domain: str, names: Iterable[str]) -> list[Finding]:
    found: list[Finding] = []
    for name in names:
        try:
            done = await machine.run("systemctl", "is-enabled", name, timeout=ASKS, domain=domain)
        except MachineError as e:
            return [*found, _unreadable(machine, f"{name} in container {domain}", e)]
        found += doctor.unit(machine.host, domain, name, done.out.strip())
    return found


async def _fence_devices(machine: Machine, hosts: Mapping[str, HostManifest]) -> list[Finding]:
    """This host asks each: it may have to cut the power of any."""
    found = []
    for name, manifest in sorted(hosts.items()):
        if manifest.spec.fencing is not None and (why := await fencing.answers(machine, name, manifest.spec.fencing)):
            what = f"the fence device of {name} does not answer here: {why}"
            found.append(Finding(f"host/{machine.host}", what, f"hactl get host {name} shows its address"))
    return found
