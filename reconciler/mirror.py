"""The mirror: this host's copy of what etcd says, fed by a watch that is resumed, never assumed.

It may lag; that is safe, since every transaction compares the revisions of what it was decided upon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from loguru import logger

from reconciler.guests import domain_of, keeper_of
from reconciler.index import Index, split
from reconciler.ownership import View
from reconciler.records import Death, Epoch, Outdated, Owner, R, Session, Status, parse
from reconciler.seen import Seen
from reconciler.spec import Drain, HostManifest, ServiceManifest, SpecError, parse_service
from reconciler.spec import parse as parse_spec
from reconciler.store import (
    ROOT,
    Change,
    Compacted,
    Entry,
    Store,
    StoreError,
    epoch_key,
    host_key,
    owner_key,
    service_key,
    session_key,
    status_key,
    word_key,
)
from resources.machine import Machine

T = TypeVar("T")

IGNORED = (f"{ROOT}events/", f"{ROOT}audit/", f"{ROOT}applied/")
SESSIONS = f"{ROOT}sessions/"
OF_A_SERVICE = ("services", "owners", "epochs", "status")
IN_ALL_VIEWS = ("sessions", "deaths", "outdated", "hosts")


@dataclass(frozen=True)
class Absence:
    """A session that is not there: since when (monotonic) this host has known that, and what it said last by the word
    that is left of it. Whoever acts on it compares the word's revision: no session has been begun since then."""

    since: float
    last: Session | None
    word: int


class Mirror:
    """Keys under /hactl/ that decide something. `changed` is told which service to look at again, "" for all."""

    def __init__(self, store: Store, machine: Machine, changed: Callable[[str], None]) -> None:
        self._store, self._machine, self._changed = store, machine, changed
        self._entries = Index()
        self._views: dict[str, View] = {}  # read from the entries as they are
        self._common: dict[str, Any] = {}  # what all views have in common, once it was read
        self._read_before: dict[str, tuple[Entry, Any]] = {}  # by key: an entry and what was read from it
        self._guests: dict[str, str] = {}  # services that live in another's container -> that other
        self._absent: dict[str, float] = {}
        self._told = 0  # up to which revision etcd has told of all changes
        self._gone: dict[str, int] = {}  # keys that this host deleted, at which revision, until etcd tells of it
        self._seen = Seen(machine)
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List, then watch from there; again whenever the watch's past is gone. For ever."""
        while True:
            try:
                listing = await self._store.list(ROOT)
                self._take(entry for entry in listing.entries if not entry.key.startswith(IGNORED))
                self._told, self._gone = listing.revision, {}
                self._absent = {}  # what happened before the listing was not seen
                self._seen.note_all(self._entries)
                self.synced.set()
                self._changed("")
                async for changes in self._store.watch(ROOT, listing.revision):
                    for change in changes:
                        self._apply(change)
            except Compacted:
                logger.info("the watch's past is compacted away; listing again")
            except StoreError as e:
                logger.warning("{}", e)
                await self._machine.sleep(1.0)

    def _apply(self, change: Change) -> None:
        if change.key.startswith(IGNORED):
            return
        self._told = max(self._told, change.revision)
        known = self._entries.get(change.key)
        if max(known.revision if known else 0, self._gone.get(change.key, 0)) > change.revision:
            return  # a write of our own, noted before the watch told of it
        self._gone.pop(change.key, None)
        if change.key.startswith(SESSIONS):
            self._session_changed(change)
        matters = self._matters(change)
        self._put(change.key, change.entry)
        if matters:
            self._tell(change.key)

    def _put(self, key: str, entry: Entry | None) -> None:
        self._entries.put(key, entry)
        self._read_before.pop(key, None)
        section, rest = split(key)
        if section == "services":
            self._note_guest(rest, entry)
            for guest in self._guests_of(rest):
                self._views.pop(guest, None)
        if section in OF_A_SERVICE:
            self._views.pop(rest.partition("/")[0], None)
        elif section in IN_ALL_VIEWS:
            self._views.clear()
            self._common = {}
        self._seen.note(key, self._entries)

    def _take(self, entries: Iterable[Entry]) -> None:
        self._entries = Index(entries)
        self._views.clear()
        self._common = {}
        self._read_before.clear()
        self._guests.clear()
        for entry in self._entries.under("services"):
            self._note_guest(split(entry.key)[1], entry)

    def _note_guest(self, name: str, entry: Entry | None) -> None:
        self._guests.pop(name, None)
        with suppress(SpecError):
            if entry is not None and (keeper := keeper_of(self._once(entry, parse_service))):
                self._guests[name] = keeper

    def _guests_of(self, name: str) -> list[str]:
        """Services in the container of that one: they live by its spec too."""
        return sorted(guest for guest, keeper in self._guests.items() if keeper == name)

    def _session_changed(self, change: Change) -> None:
        host = change.key.removeprefix(SESSIONS)
        self._absent.pop(host, None)
        if change.entry is None:
            self._absent[host] = self._machine.monotonic()

    def absence(self, host: str) -> Absence | None:
        """None while there is a session, or before etcd has said anything."""
        if not self.synced.is_set() or session_key(host) in self._entries:
            self._absent.pop(host, None)
            return None
        since = self._absent.setdefault(host, self._machine.monotonic())
        word = self._entries.get(word_key(host))
        return Absence(since, self._record(Session, word), word.revision if word else 0)

    # -- with etcd away ------------------------------------------------------------------------------------------

    def load(self) -> bool:
        """What was seen last, until etcd says more. False where nothing was. Before anything else is asked of it."""
        self._take(self._seen.load())
        return bool(self._entries)

    def _matters(self, change: Change) -> bool:
        """Does anything follow from it? Of what another host says of a service only that which is decided by: else two
        hosts that both fail at something would wake each other with every try."""
        if split(change.key)[0] != "status" or change.entry is None:
            return True
        before, now = self._entries.get(change.key), parse(Status, change.entry.value)
        said = parse(Status, before.value) if before is not None else None
        if said is None or now is None:
            return True
        return _decided_by(said) != _decided_by(now)

    def _tell(self, key: str) -> None:
        section, rest = split(key)
        name, _, host = rest.partition("/")
        if section == "status" and host == self._machine.host:
            return  # our own words
        self._changed(name if section in OF_A_SERVICE else "")
        for guest in self._guests_of(name) if section == "services" else ():
            self._changed(guest)

    def note(self, key: str, value: str | None, revision: int) -> None:
        """A write of our own that was confirmed: known at once, not only when the watch tells of it. One whose answer
        came late is old news: what became of it since has been told."""
        known = self._entries.get(key)
        if revision <= self._told or (known is not None and known.revision >= revision):
            return
        if value is None:
            self._gone[key] = revision
            self._put(key, None)
        else:
            self._put(key, Entry(key, value, revision, known.created if known else revision))

    def services(self) -> list[str]:
        """Names of all services there are, sorted."""
        return [entry.key.rpartition("/")[2] for entry in self._entries.under("services")]

    def views(self, *names: str) -> Iterator[View]:
        """Of all services whose spec is one, sorted by name; or of those alone."""
        for name in names or self.services():
            try:
                view = self.view(name)
            except SpecError:
                continue
            if view is not None:
                yield view

    def view(self, name: str) -> View | None:
        """What etcd says of one service; None when it is not there. Raises SpecError when its spec is none."""
        entry = self._entries.get(service_key(name))
        if entry is None:
            return None
        if name not in self._views:
            self._views[name] = self._read(name, entry)
        return self._views[name]

    def _read(self, name: str, entry: Entry) -> View:
        owner, epoch = self._entries.get(owner_key(name)), self._entries.get(epoch_key(name))
        if not self._common:
            self._common = self._in_all_views()
        manifest = self._manifest(name, entry)
        return View(
            manifest=manifest,
            domain=domain_of(manifest, self._text),
            revision=entry.revision,
            text=entry.value,
            owner=self._record(Owner, owner),
            owner_revision=owner.revision if owner else 0,
            epoch=self._record(Epoch, epoch),
            epoch_revision=epoch.revision if epoch else 0,
            statuses=dict(self._records(Status, f"status/{name}")),
            **self._common,
        )

    def _text(self, name: str) -> str | None:
        entry = self._entries.get(service_key(name))
        return entry.value if entry else None

    def _in_all_views(self) -> dict[str, Any]:
        outdated = list(self._outdated())
        return {
            "sessions": dict(self._records(Session, "sessions")),
            "deaths": {(death.host, death.boot_id): death for _, death in self._records(Death, "deaths")},
            "outdated": {copy: entry.revision for copy, entry in outdated},
            "lacks_since": {copy: self._since(entry) for copy, entry in outdated},
            "drained": dict(self._drained()),
        }

    def _drained(self) -> Iterator[tuple[str, Drain]]:
        for entry in self._entries.under("hosts"):
            name = entry.key.rpartition("/")[2]
            if (manifest := self.host(name)) is not None and manifest.spec.drain is not None:
                yield name, manifest.spec.drain

    def _manifest(self, name: str, entry: Entry) -> ServiceManifest:
        """Raises SpecError."""
        manifest = self._once(entry, parse_service)
        if manifest.metadata.name != name:
            raise SpecError([(("metadata", "name"), f"is {manifest.metadata.name!r} under the key of {name!r}")])
        return manifest

    def revision(self, name: str) -> int:
        """Of the service's spec; 0 when there is none."""
        return self.revision_of(service_key(name))

    def revision_of(self, key: str) -> int:
        """0 when it is not there, as far as this host knows."""
        entry = self._entries.get(key)
        return entry.revision if entry else 0

    def host(self, name: str) -> HostManifest | None:
        """A host's spec, where there is a valid one."""
        entry = self._entries.get(host_key(name))
        try:
            found = parse_spec(entry.value) if entry else None
        except SpecError:
            return None
        return found if isinstance(found, HostManifest) else None

    def session(self, host: str) -> Session | None:
        """Of a host, as far as this one knows."""
        entry = self._entries.get(session_key(host))
        return self._record(Session, entry)

    def status(self, name: str, host: str) -> Status | None:
        """What a host last said of a service."""
        entry = self._entries.get(status_key(name, host))
        return self._record(Status, entry)

    def _records(self, model: type[R], group: str) -> Iterator[tuple[str, R]]:
        for entry in self._entries.under(group):
            if (record := self._record(model, entry)) is not None:
                yield entry.key.rpartition("/")[2], record

    def _record(self, model: type[R], entry: Entry | None) -> R | None:
        return None if entry is None else self._once(entry, lambda text: parse(model, text))

    def _once(self, entry: Entry, read: Callable[[str], T]) -> T:
        """What it says; a key is always read as the same thing."""
        before, found = self._read_before.get(entry.key, (None, None))
        if before is not entry:
            found = read(entry.value)
            self._read_before[entry.key] = entry, found
        return cast(T, found)

    def _outdated(self) -> Iterator[tuple[tuple[str, str], Entry]]:
        for entry in self._entries.under("outdated"):
            disk, _, host = split(entry.key)[1].rpartition("/")
            yield (disk, host), entry

    def _since(self, entry: Entry) -> str:
        record = self._record(Outdated, entry)
        return record.since if record else ""


def _decided_by(said: Status) -> tuple[object, ...]:
    """Of a host's status, what others decide by; of a service that follows an engine, where that is too."""
    fits = [(part, one.fit) for part, one in sorted(said.parts.items()) if one.fit is not None]
    return said.role, said.state, said.revision, said.target, fits
