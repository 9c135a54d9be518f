"""What is kept of etcd on a host: a file a service, none elsewhere, and all of it found again."""

from __future__ import annotations

import json

from reconciler.index import Index
from reconciler.seen import SEEN, Seen
from reconciler.sim.machine import SimMachine
from reconciler.store import Entry, epoch_key, host_key, outdated_key, owner_key, service_key, session_key, status_key
from resources.machine import MachineError
from tests.unit.support import hosts, machine, simulated

NFS = "/var/lib/hactl/seen/nfs.json"
WEB = "/var/lib/hactl/seen/web.json"
KEYS = [
    *(key(name) for name in ("nfs", "web") for key in (service_key, owner_key, epoch_key)),
    host_key("hosta"),
    outdated_key("nfs-home", "hostb"),
]
LIES_BY_THEN = [session_key("hosta"), status_key("nfs", "hosta")]


def entry(key: str, revision: int = 1) -> Entry:
    return Entry(key, "{}", revision, 1)


class Disk(SimMachine):
    """`writes`: the files written; while `full`, none can be."""

    def __init__(self) -> None:
        super().__init__(hosts().hosts["hosta"], "test", lambda _operation: None)
        self.writes: list[str] = []
        self.full = False

    def write(self, path: str, text: str) -> None:
        if self.full:
            raise MachineError("no space left")
        self.writes.append(path)
        super().write(path, text)


def kept(disk: SimMachine) -> set[tuple[str, int]]:
    """What the next agent finds."""
    return {(one.key, one.revision) for one in Seen(disk).load()}


def both() -> tuple[Disk, Index, Seen]:
    disk, index = Disk(), Index(entry(key) for key in KEYS + LIES_BY_THEN)
    seen = Seen(disk)
    seen.note_all(index)
    return disk, index, seen


@simulated
async def test_what_decides_is_found_again_and_nothing_else() -> None:
    disk, _, _ = both()
    assert kept(disk) == {(key, 1) for key in KEYS}


@simulated
async def test_a_change_of_one_service_writes_its_file_alone() -> None:
    disk, index, seen = both()
    disk.writes.clear()
    for key in (owner_key("nfs"), status_key("nfs", "hosta"), session_key("hosta")):
        index.put(key, entry(key, 7))
        seen.note(key, index)
    assert disk.writes == [NFS]
    assert (owner_key("nfs"), 7) in kept(disk)
    seen.note_all(index)
    assert disk.writes == [NFS]


@simulated
async def test_what_is_of_all_is_in_the_file_of_all() -> None:
    disk, index, seen = both()
    disk.writes.clear()
    index.put(outdated_key("nfs-home", "hostb"), None)
    seen.note(outdated_key("nfs-home", "hostb"), index)
    assert disk.writes == [SEEN]
    assert kept(disk) == {(key, 1) for key in KEYS if key != outdated_key("nfs-home", "hostb")}


@simulated
async def test_a_service_comes_and_goes_with_its_file() -> None:
    disk, index, seen = both()
    for key in (service_key("web"), owner_key("web"), epoch_key("web")):
        index.put(key, None)
        seen.note(key, index)
    assert disk.read(WEB) is None
    assert kept(disk) == {(key, 1) for key in KEYS if not key.endswith("/web")}
    index.put(service_key("web"), entry(service_key("web"), 9))
    seen.note(service_key("web"), index)
    assert (service_key("web"), 9) in kept(disk)


@simulated
async def test_one_that_went_while_no_agent_ran_goes_with_the_next_listing() -> None:
    disk, _, _ = both()
    seen = Seen(disk)
    seen.load()
    seen.note_all(Index([entry(service_key("nfs"))]))
    assert kept(disk) == {(service_key("nfs"), 1)}
    assert disk.read(WEB) is None


@simulated
async def test_a_key_in_etcd_cannot_name_a_file_elsewhere() -> None:
    disk = Disk()
    index = Index([entry(service_key("../../../etc/passwd")), entry(owner_key("a/b")), entry(service_key("nfs"))])
    seen = Seen(disk)
    seen.note_all(index)
    seen.note(service_key("../../../etc/passwd"), index)
    assert set(disk.writes) == {NFS, SEEN}


@simulated
async def test_what_could_not_be_written_is_written_with_the_next_change() -> None:
    disk, index, seen = both()
    disk.full = True
    index.put(owner_key("nfs"), entry(owner_key("nfs"), 7))
    seen.note(owner_key("nfs"), index)
    assert (owner_key("nfs"), 7) not in kept(disk)
    disk.full = False
    index.put(owner_key("web"), entry(owner_key("web"), 8))
    seen.note(owner_key("web"), index)
    assert {(owner_key("nfs"), 7), (owner_key("web"), 8)} <= kept(disk)


@simulated
async def test_the_one_file_of_earlier_versions_is_read_too() -> None:
    disk = machine(hosts().hosts["hosta"])
    disk.write(SEEN, json.dumps([[service_key("nfs"), "{}", 5, 4], [owner_key("nfs"), "{}", 6, 6]]))
    assert kept(disk) == {(service_key("nfs"), 5), (owner_key("nfs"), 6)}


@simulated
async def test_what_cannot_be_read_is_nothing() -> None:
    for text in ("", "{", "{}", "[1]", '{"services": 1, "keys": []}', '{"services": [], "keys": [[1]]}'):
        disk = machine(hosts().hosts["hosta"])
        disk.write(SEEN, text)
        assert kept(disk) == set()


@simulated
async def test_a_service_that_is_listed_and_whose_file_is_gone_makes_all_of_it_nothing() -> None:
    """Else an agent that starts without etcd would not put down, in time, what it does not know of."""
    disk, _, _ = both()
    disk.remove(NFS)
    assert Seen(disk).load() == []
