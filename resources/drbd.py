"""What DRBD says, as values: the text of `drbdsetup events2 --now --statistics` and of drbdadm's refusals.

DRBD 8.4 and 9 (drbdsetup-events2(8); the fields are printed by user/v9/drbdsetup_events2.c of drbd-utils). Words that
are not known here are passed over: each version prints some more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX = re.compile(r"^(\S+: )?(State change failed|Failure): \(-?\d+\) ")  # `1: State change failed: (-2) Need …`


@dataclass(frozen=True)
class Copy:
    """Another host's copy of a volume, as known here. `out_of_sync` in KiB; `client`: it is meant to have no disk."""

    volume: int
    disk: str = "DUnknown"
    replication: str = "Off"
    out_of_sync: int = 0
    client: bool = False


@dataclass(frozen=True)
class Peer:
    """Another host. DRBD 9 may have several, some without a disk; DRBD 8.4 calls its one "peer", or by its number."""

    name: str
    connection: str = "StandAlone"
    role: str = "Unknown"
    copies: tuple[Copy, ...] = ()

    @property
    def called(self) -> str:
        """For a sentence."""
        return "its peer" if self.name == "peer" or self.name.isdecimal() else self.name


@dataclass(frozen=True)
class Volume:
    """This host's copy of a volume; `size` in KiB. DRBD 8.4 knows no quorum."""

    number: int
    disk: str = "Diskless"
    minor: int = -1
    size: int = 0
    quorum: bool = True


@dataclass(frozen=True)
class Disk:
    """A DRBD resource on this host; `suspended` as DRBD says it ("no", "fencing", "user,quorum", …)."""

    role: str = "Unknown"
    suspended: str = "no"
    volumes: tuple[Volume, ...] = ()
    peers: tuple[Peer, ...] = ()

    @property
    def asks(self) -> bool:
        """Does it ask a peer what it lacks? Before a resync, for some milliseconds; DRBD 8.4 may hang there."""
        return any(copy.replication.startswith("WFBitMap") for peer in self.peers for copy in peer.copies)


Said = Mapping[str, str]


def parse(text: str, resource: str) -> Disk | None:
    """What `drbdsetup events2 --now --statistics` printed -> the disk; None when it is not configured here."""
    said: dict[str, list[Said]] = {"resource": [], "device": [], "connection": [], "peer-device": []}
    for line in text.splitlines():
        match line.split():
            case ["exists", what, *words] if what in said:
                facts = dict(word.partition(":")[::2] for word in words)
                if facts.get("name") == resource:
                    said[what].append(facts)
    if not said["resource"]:
        return None
    of = said["resource"][0]
    volumes = sorted((_volume(device) for device in said["device"]), key=lambda volume: volume.number)
    peers = sorted((_peer(one, said["peer-device"]) for one in said["connection"]), key=lambda peer: peer.name)
    return Disk(of.get("role", "Unknown"), of.get("suspended", "no"), tuple(volumes), tuple(peers))


def _volume(device: Said) -> Volume:
    return Volume(
        number=_int(device, "volume"),
        disk=device.get("disk", "Diskless"),
        minor=_int(device, "minor", -1),
        size=_int(device, "size"),
        quorum=device.get("quorum", "yes") != "no",
    )


def _peer(connection: Said, devices: Sequence[Said]) -> Peer:
    copies = sorted(
        (_copy(device) for device in devices if _name(device) == _name(connection)), key=lambda copy: copy.volume
    )
    return Peer(
        name=_name(connection),
        connection=connection.get("connection", "StandAlone"),
        role=connection.get("role", "Unknown"),
        copies=tuple(copies),
    )


def _name(connection: Said) -> str:
    return connection.get("conn-name", connection.get("peer-node-id", "peer"))


def _copy(device: Said) -> Copy:
    return Copy(
        volume=_int(device, "volume"),
        disk=device.get("peer-disk", "DUnknown"),
        replication=device.get("replication", "Off"),
        out_of_sync=_int(device, "out-of-sync"),
        client=device.get("peer-client") == "yes",
    )


def _int(said: Said, word: str, otherwise: int = 0) -> int:
    text = said.get(word, "")
    return int(text) if text.isdecimal() and len(text) < 20 else otherwise


def said_by(text: str) -> str:
    """The lines of drbdadm that tell why, as one clause: without the command it ran, its codes and its usage."""
    noise = ("Command ", "Try ", "additional info from kernel:", "Usage", "Normally")
    lines = [line.strip() for line in text.splitlines()]
    useful = [PREFIX.sub("", line) for line in lines if line and not line.startswith(noise)]
    return "; ".join(useful[:3]) or "it gave no reason"


@dataclass(frozen=True)
class Configured:
    """What a resource's configuration says of losing the peer: its fencing policy and fence-peer handler, "" where it
    says nothing (drbd.conf(5): dont-care, no handler)."""

    fencing: str = ""
    handler: str = ""


def configured(text: str) -> Configured | None:
    """What `drbdadm dump RESOURCE` prints; None when it knows no such resource. DRBD 8.4 has `fencing` in the section
    disk, 9 in net; a handler is quoted."""
    if "resource " not in text:
        return None
    said = dict(line.strip().rstrip(";").split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)
    return Configured(said.get("fencing", ""), said.get("fence-peer", "").strip('"'))
