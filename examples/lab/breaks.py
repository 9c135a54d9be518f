"""What somebody may break of a running NFS service by hand, on the lab's real hosts; the agents must put it right.

For tests/lab/test_breaks.py and `bench.py drift`. A moment is in seconds of the hosts' clock, which all share. A
break's is when the deed is done, as near before it as can be told (`now`): that the command has returned says nothing,
since the agent goes before all else on its host and may have repaired it by then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from examples.lab import rig

SERVICE = "nfs"

# Ways into the container: its controller, its init, its name for machined. An `ip` that waits in there for what to do
# does it at once; when a unit left "active", its systemd knows.
WAYS = """set -e
C=$(cat /run/libvirt/lxc/nfs.pid 2>/dev/null || true)
I=$(pgrep -P "$C" | head -n 1)
M=$(machinectl list --no-legend | awk '$1 ~ /-nfs$/ {print $1; exit}')
inside() { nsenter -t "$I" "$@"; }
now() { printf '@%s\n' "$EPOCHREALTIME"; }
by_ip() { exec 7> >(inside -n ip -batch -); sleep 0.5; now; echo "$1" >&7; exec 7>&-; wait $!; }
left() { date -d "$(systemctl -M $M show --value -p ActiveExitTimestamp --timestamp=us+utc $1)" +@%s.%N; }
"""
# Whoever does this by hand is faster than the agent, or has stopped it.
HALT, GO_ON = "systemctl kill -s STOP hactl-agent", "systemctl kill -s CONT hactl-agent"
FREE = f"{HALT}; systemctl -M $M stop nfs-server.service; inside -m umount /var/lib/nfs"


@dataclass(frozen=True)
class Break:
    """`part`: how the resource begins that the drift is told about, `says`: words of it. `deed` is done on the active
    host, then `other` on the standby, whose moment counts; `mend` undoes on both what agents do not."""

    name: str
    part: str
    says: str
    deed: str = ""
    other: str = ""
    mend: str = ""
    told_by: str = "active"  # or standby: whose drift it is


BREAKS = (
    Break(
        "address removed",
        "address/192.0.2.10",
        "192.0.2.10/24 is missing",
        "by_ip 'address delete 192.0.2.10/24 dev eth0'",
    ),
    Break(
        "IPv6 address removed",
        "address/2001:db8::10",
        "2001:db8::10/64 is missing",
        "by_ip 'address delete 2001:db8::10/64 dev eth0'",
    ),
    Break(
        "address moved to another interface",
        "address/192.0.2.10",
        "address 192.0.2.10/24",  # what is seen first: gone, or there
        r"by_ip $'address delete 192.0.2.10/24 dev eth0\naddress add 192.0.2.10/24 dev lo'",
    ),
    Break(
        "address in use elsewhere",
        "address/192.0.2.10",
        "192.0.2.10",
        other="ip address add 192.0.2.10/32 dev br0; now; arping -q -U -c 1 -I br0 192.0.2.10 || true",
        mend="ip address delete 192.0.2.10/32 dev br0 2>/dev/null || true",
    ),
    Break(
        "unit stopped",
        "unit/rpcbind.service",
        "rpcbind.service is",
        "systemctl -M $M stop rpcbind.service || true; left rpcbind.service",  # cancelled, where the agent is faster
    ),
    Break(
        "nfs-server.service stopped",  # with the units that are part of it
        "unit/nfs-server.service",
        "nfs-server.service is",  # deactivating, or inactive already
        "systemctl -M $M stop nfs-server.service || true; left nfs-server.service",  # likewise
    ),
    Break(
        "unit killed",  # by a signal after which its own Restart=on-failure does not start it again
        "unit/rpcbind.service",
        "rpcbind.service is",
        "P=$(pgrep -x rpcbind --ns $I --nslist pid); now; kill -TERM $P; tail --pid=$P -f /dev/null",
    ),
    Break(
        "mount lazily unmounted",
        "mount//export/home",
        "/export/home is not mounted",
        "inside -m -p umount -l /export/home",
    ),
    Break(
        "mount made read-only",
        "mount//export/home",
        "/export/home is mounted read-only",
        "inside -m -p sh -c 'until mount -o remount,ro /export/home 2>/dev/null; do :; done'",
    ),
    Break(
        "disk demoted by force",
        "disk/nfs-state",
        "nfs-state is Secondary",
        f"{FREE}; drbdadm secondary nfs-state; now; {GO_ON}",
    ),
    Break(
        "other host's disk promoted",
        "disk/nfs-state",
        "nfs-state is Primary",
        f"{FREE}; drbdadm secondary nfs-state",
        "drbdadm primary nfs-state",
        GO_ON,
        told_by="standby",
    ),
    Break("disk detached", "disk/nfs-home", "nfs-home is Diskless", "drbdadm detach nfs-home"),
    Break(
        "container destroyed",  # libvirt 9.0 may fail for a cgroup that went with what it has just killed
        "container/nfs",
        "container nfs does not run",
        "virsh -q -c lxc:/// destroy nfs || timeout 10 tail --pid=$I -f /dev/null",
    ),
    Break("init killed", "container/nfs", "container nfs does not run", "kill -9 $I"),
    Break("controller killed", "container/nfs", "container nfs", "kill -9 $C"),
    Break(
        "controller killed, no machined",
        "container/nfs",
        "container nfs",
        "systemctl stop systemd-machined; now; kill -9 $C",
        mend="systemctl start systemd-machined",
    ),
    Break("nfsd threads set to 0", "check/tcp 2049", "2049", "inside -n -m rpc.nfsd 0"),
    Break(
        "started on the standby",
        "unit/rpcbind.service",
        "rpcbind.service runs",
        other="systemctl -M $M start rpcbind.service || true",  # likewise
        told_by="standby",
    ),
)


@dataclass(frozen=True)
class Drifted:
    """What the agents told of a break: seconds after it until it was seen, until it was repaired (None: not yet)."""

    seen: float
    text: str
    repaired: float | None = None


@dataclass(frozen=True)
class Struck:
    """In seconds since 1970: its first command, and the one that breaks it."""

    began: float
    moment: float


def strike(one: Break, active: str, standby: str) -> Struck:
    """Do it."""
    deeds = [(host, deed) for host, deed in ((active, one.deed), (standby, one.other)) if deed]
    moments = [_moments(host, f"now\n{deed}") for host, deed in deeds]
    return Struck(moments[0][0], moments[-1][-1])


def healed(one: Break, active: str, standby: str, seconds: float = 120) -> Drifted:
    """After it was `strike`d: seen, what agents do not mend is mended, repaired. Raises LabError."""
    host = active if one.told_by == "active" else standby
    when = strike(one, active, standby)
    try:
        rig.until(f"{one.name}: it is seen", lambda: told(one, host, when), seconds)
    finally:
        for each in rig.HOSTS if one.mend else ():
            _do(each, one.mend)

    def repaired() -> Drifted | None:
        now = told(one, host, when)
        return now if now is not None and now.repaired is not None else None

    found: Drifted = rig.until(f"{one.name}: it is repaired", repaired, seconds)
    return found


def reference(host: str) -> float:
    """Seconds that a command in the container takes which breaks nothing."""
    began, ended = _moments(host, "now\ninside -n ip address show dev lo >/dev/null\nnow")
    return ended - began


def start_by_hand(host: str) -> float:
    """Seconds that systemd itself takes to start nfs-server.service and what belongs to it, the agent's hands off."""
    rig.hactl("pause", SERVICE, "--reason", "a start by hand is timed")
    try:
        stop, start = (f"systemctl -M $M {verb} nfs-server.service" for verb in ("stop", "start"))
        began, ended = _moments(host, f"{stop}\nnow\n{start}\nnow")
    finally:
        rig.hactl("resume", SERVICE)
    return ended - began


def _moments(host: str, deed: str) -> list[float]:
    """Do it; when each `now` was."""
    return [float(word[1:]) for word in _do(host, deed).split() if word.startswith("@")]


def _do(host: str, deed: str) -> str:
    return rig.on(host, "bash", "-s", stdin=WAYS + deed)


def told(one: Break, host: str, when: Struck) -> Drifted | None:
    """What that host's agent told of it so far; None: nothing."""
    found: Drifted | None = None
    for event in _events():
        at = moment(event["at"])
        if event["host"] != host or at < when.began or not event.get("resource", "").startswith(one.part):
            continue
        if event["kind"] == "drift" and found is None and one.says in event["text"]:
            found = Drifted(max(0.0, at - when.moment), event["text"])
        elif event["kind"] == "repaired" and found is not None:
            return replace(found, repaired=at - when.moment)
    return found


def _events() -> list[dict[str, Any]]:
    lines = rig.hactl("events", SERVICE, "-o", "json").stdout.splitlines()
    return [json.loads(line) for line in lines[-200:]]


def moment(stamp: str) -> float:
    """2026-11-24T07:02:11.123Z -> seconds since 1970."""
    return datetime.fromisoformat(stamp).timestamp()
