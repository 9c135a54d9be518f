"""The scene: everything under /hactl/ that says how things are, as it was read and as a watch goes on telling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress

from reconciler import guests
from reconciler.cli.errors import Code, Refused
from reconciler.ownership import View
from reconciler.records import Death, Epoch, Owner, R, Session, Status, parse
from reconciler.spec import Drain, HostManifest, ServiceManifest, SpecError, nearest, parse_service
from reconciler.spec import parse as parse_manifest
from reconciler.store import ROOT, Change, Compacted, Entry, Store, epoch_key, host_key, owner_key, service_key

SECTIONS = ("services", "hosts", "sessions", "words", "owners", "epochs", "deaths", "outdated", "status", "applied")
TICK = 1.0  # seconds between looks while nothing is told


class Scene:
    """Keys and what they mean. `revision`: every change until then is in it, perhaps some later ones."""

    def __init__(self, entries: Sequence[Entry], revision: int) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self.revision = revision
        self.heard = 0.0  # when a watch of it last gave a sign of life, on the loop's clock

    def apply(self, change: Change) -> None:
        """What a watch told."""
        self.revision = max(self.revision, change.revision)
        if change.entry is None:
            self._entries.pop(change.key, None)
        else:
            self._entries[change.key] = change.entry

    def entry(self, key: str) -> Entry | None:
        """As it stands."""
        return self._entries.get(key)

    def under(self, section: str) -> Iterator[tuple[str, Entry]]:
        """(the key's rest, entry) in the order of keys."""
        prefix = f"{ROOT}{section}/"
        for key in sorted(self._entries):
            if key.startswith(prefix):
                yield key.removeprefix(prefix), self._entries[key]

    def all_keys(self) -> list[str]:
        """All, sorted."""
        return sorted(self._entries)

    def services(self) -> list[str]:
        """Names, sorted."""
        return [name for name, _ in self.under("services")]

    def sessions(self) -> dict[str, Session]:
        """Hosts whose agent is alive."""
        return dict(self._records(Session, "sessions"))

    def words(self) -> dict[str, Session]:
        """What each host's session said last, whether it stands or not."""
        return dict(self._records(Session, "words"))

    def owners(self) -> dict[str, Owner]:
        """By service."""
        return dict(self._records(Owner, "owners"))

    def host_manifests(self) -> dict[str, HostManifest]:
        """The valid ones, by name."""
        found = {}
        for name, entry in self.under("hosts"):
            with suppress(SpecError):
                if isinstance(manifest := parse_manifest(entry.value), HostManifest):
                    found[name] = manifest
        return found

    def hosts(self) -> list[str]:
        """Every host that has a manifest, a session or is named by a service; sorted."""
        named = {name for name, _ in self.under("hosts")} | set(self.sessions())
        for service in self.services():
            with suppress(SpecError, Refused):
                named |= set(self.view(service).manifest.spec.hosts)
        return sorted(named)

    def known_hosts(self) -> set[str]:
        """Hosts that are surely not a slip of the pen."""
        return {name for name, _ in self.under("hosts")} | set(self.sessions())

    def view(self, name: str) -> View:
        """What etcd says of one service. Raises Refused when there is none, SpecError when its spec is none."""
        entry = self._entries.get(service_key(name))
        if entry is None:
            said = nearest(name, self.services()) or "; there is none at all: hactl apply -f FILE"
            raise Refused(Code.WRONG, f"there is no service {name}{said}")
        owner, epoch = self._entries.get(owner_key(name)), self._entries.get(epoch_key(name))
        manifest = parse_service(entry.value)
        return View(
            manifest=manifest,
            domain=guests.domain_of(manifest, self.text),
            revision=entry.revision,
            text=entry.value,
            owner=parse(Owner, owner.value) if owner else None,
            owner_revision=owner.revision if owner else 0,
            epoch=parse(Epoch, epoch.value) if epoch else None,
            epoch_revision=epoch.revision if epoch else 0,
            sessions=self.sessions(),
            deaths={(death.host, death.boot_id): death for _, death in self._records(Death, "deaths")},
            outdated={
                (rest.partition("/")[0], rest.rpartition("/")[2]): entry.revision
                for rest, entry in self.under("outdated")
            },
            statuses=self.statuses(name),
            drained=self.drained(),
        )

    def drained(self) -> dict[str, Drain]:
        """Hosts that take nothing."""
        found = {name: manifest.spec.drain for name, manifest in self.host_manifests().items()}
        return {name: drain for name, drain in found.items() if drain is not None}

    def service_manifests(self) -> dict[str, ServiceManifest]:
        """The valid ones, by name."""
        found = {}
        for name, entry in self.under("services"):
            with suppress(SpecError):
                found[name] = parse_service(entry.value)
        return found

    def text(self, name: str) -> str | None:
        """The spec of a service as it stands."""
        entry = self._entries.get(service_key(name))
        return entry.value if entry else None

    def statuses(self, name: str) -> dict[str, Status]:
        """What each host last said of a service."""
        return dict(self._records(Status, f"status/{name}"))

    def has_host(self, name: str) -> bool:
        """Is there a manifest of it?"""
        return host_key(name) in self._entries

    def _records(self, model: type[R], section: str) -> Iterator[tuple[str, R]]:
        for rest, entry in self.under(section):
            if (record := parse(model, entry.value)) is not None:
                yield rest, record


async def look(store: Store) -> Scene:
    """Read it. Sections are read side by side, so a change in between may be in one and not yet in another."""
    listings = await asyncio.gather(*(store.list(f"{ROOT}{section}/") for section in SECTIONS))
    entries = [entry for listing in listings for entry in listing.entries]
    return Scene(entries, min(listing.revision for listing in listings))


async def follow(store: Store, scene: Scene) -> AsyncGenerator[tuple[Change, ...], None]:
    """Keeps the scene up to date, and yields what changed after it; () when nothing did for a second. For ever."""
    told: asyncio.Queue[tuple[Change, ...]] = asyncio.Queue()
    pump = asyncio.create_task(_pump(store, scene, told))
    try:
        while True:
            try:
                changes = await asyncio.wait_for(told.get(), TICK)
            except TimeoutError:
                changes = ()
                if pump.done():
                    pump.result()
            for change in changes:
                scene.apply(change)
            yield changes
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def _pump(store: Store, scene: Scene, told: asyncio.Queue[tuple[Change, ...]]) -> None:
    """A watch whose past is compacted away is begun anew from what stands."""
    after, clock = scene.revision, asyncio.get_running_loop().time
    scene.heard = scene.heard or clock()
    while True:
        try:
            async for changes in store.watch(ROOT, after):
                scene.heard = clock()
                told.put_nowait(changes)
                after = max([after, *(change.revision for change in changes)])
        except Compacted:
            listing = await store.list(ROOT)
            stand = {one.key for one in listing.entries}
            gone = [Change(key, None, listing.revision) for key in scene.all_keys() if key not in stand]
            new = [Change(one.key, one, one.revision) for one in listing.entries if one.revision > after]
            told.put_nowait((*new, *gone))
            after = listing.revision
