"""The mirror: this host's copy of what etcd says, fed by a watch that is resumed, never assumed.

It may lag; that is safe, since every transaction compares the revisions of what it was decided upon.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loguru import logger

from reconciler.ownership import View
from reconciler.records import Death, Epoch, Outdated, Owner, R, Session, Status, parse
from reconciler.spec import HostManifest, SpecError, parse_service
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
from resources.machine import Machine, MachineError

IGNORED = (f"{ROOT}events/", f"{ROOT}audit/", f"{ROOT}applied/")
SESSIONS = f"{ROOT}sessions/"
KEPT = tuple(f"{ROOT}{section}/" for section in ("services", "hosts", "owners", "epochs", "outdated"))
SEEN = "/var/lib/hactl/seen.json"


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
        self._entries: dict[str, Entry] = {}
        self._views: dict[str, View] = {}  # read from the entries as they are
        self._absent: dict[str, float] = {}
        self._told = 0  # up to which revision etcd has told of all changes
        self._gone: dict[str, int] = {}  # keys that this host deleted, at which revision, until etcd tells of it
        self._saved: list[list[object]] = []
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List, then watch from there; again whenever the watch's past is gone. For ever."""
        while True:
            try:
                listing = await self._store.list(ROOT)
                self._entries = {entry.key: entry for entry in listing.entries if not entry.key.startswith(IGNORED)}
                self._told, self._gone = listing.revision, {}
                self._views.clear()
                self._absent = {}  # what happened before the listing was not seen
                self._save()
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
        self._views.clear()
        if change.entry is None:
            self._entries.pop(change.key, None)
        else:
            self._entries[change.key] = change.entry
        if change.key.startswith(KEPT):
            self._save()
        self._tell(change.key)

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
        return Absence(since, parse(Session, word.value) if word else None, word.revision if word else 0)

    # -- with etcd away ------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """What decides, for an agent that starts while etcd is away. Statuses and sessions would be lies by then."""
        kept = [
            [entry.key, entry.value, entry.revision, entry.created]
            for key, entry in sorted(self._entries.items())
            if key.startswith(KEPT)
        ]
        if kept == self._saved:
            return
        try:
            self._machine.write(SEEN, json.dumps(kept))
            self._saved = kept
        except MachineError as e:
            logger.warning("what etcd says could not be kept for a start without it: {}", e)

    def load(self) -> bool:
        """What was seen last, until etcd says more. False where nothing was. Before anything else is asked of it."""
        text = self._machine.read(SEEN)
        try:
            rows = json.loads(text or "[]")
            self._entries = {key: Entry(key, value, revision, created) for key, value, revision, created in rows}
            self._views.clear()
        except (ValueError, TypeError):
            return False
        return bool(self._entries)

    def _tell(self, key: str) -> None:
        section, _, rest = key.removeprefix(ROOT).partition("/")
        name, _, host = rest.partition("/")
        if section == "status" and host == self._machine.host:
            return  # our own words
        self._changed(name if section in ("services", "owners", "epochs", "status") else "")

    def note(self, key: str, value: str | None, revision: int) -> None:
        """A write of our own that was confirmed: known at once, not only when the watch tells of it. One whose answer
        came late is old news: what became of it since has been told."""
        known = self._entries.get(key)
        if revision <= self._told or (known is not None and known.revision >= revision):
            return
        self._views.clear()
        if value is None:
            self._gone[key] = revision
            self._entries.pop(key, None)
        else:
            self._entries[key] = Entry(key, value, revision, known.created if known else revision)
        if key.startswith(KEPT):
            self._save()

    def services(self) -> list[str]:
        """Names of all services there are, sorted."""
        return sorted(key.rpartition("/")[2] for key, _ in self._under("services"))

    def view(self, name: str) -> View | None:
        """What etcd says of one service; None when it is not there. Raises SpecError when its spec is none."""
        entry = self._entries.get(service_key(name))
        if entry is None:
            return None
        if name not in self._views:
            self._views[name] = self._read(name, entry)
        return self._views[name]

    def _read(self, name: str, entry: Entry) -> View:
        manifest = parse_service(entry.value)
        if manifest.metadata.name != name:
            raise SpecError([(("metadata", "name"), f"is {manifest.metadata.name!r} under the key of {name!r}")])
        owner, epoch = self._entries.get(owner_key(name)), self._entries.get(epoch_key(name))
        return View(
            manifest=manifest,
            revision=entry.revision,
            text=entry.value,
            owner=parse(Owner, owner.value) if owner else None,
            owner_revision=owner.revision if owner else 0,
            epoch=parse(Epoch, epoch.value) if epoch else None,
            epoch_revision=epoch.revision if epoch else 0,
            sessions={key: found for key, found in self._records(Session, "sessions")},
            deaths={(death.host, death.boot_id): death for _, death in self._records(Death, "deaths")},
            outdated={copy: entry.revision for copy, entry in self._outdated()},
            lacks_since={copy: _since(entry) for copy, entry in self._outdated()},
            statuses={key: found for key, found in self._records(Status, f"status/{name}")},
        )

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
        return parse(Session, entry.value) if entry else None

    def status(self, name: str, host: str) -> Status | None:
        """What a host last said of a service."""
        entry = self._entries.get(status_key(name, host))
        return parse(Status, entry.value) if entry else None

    def _under(self, section: str) -> Iterator[tuple[str, Entry]]:
        prefix = f"{ROOT}{section}/"
        for key in sorted(self._entries):
            if key.startswith(prefix):
                yield key, self._entries[key]

    def _records(self, model: type[R], section: str) -> Iterator[tuple[str, R]]:
        for key, entry in self._under(section):
            if (record := parse(model, entry.value)) is not None:
                yield key.rpartition("/")[2], record

    def _outdated(self) -> Iterator[tuple[tuple[str, str], Entry]]:
        for key, entry in self._under("outdated"):
            disk, _, host = key.removeprefix(f"{ROOT}outdated/").rpartition("/")
            yield (disk, host), entry


def _since(entry: Entry) -> str:
    record = parse(Outdated, entry.value)
    return record.since if record else ""
